"""Orders: placed once, looked at often."""

from liquefy import answer


def place(message, context):
    """The last step of a checkout."""
    context.update(message.items())
    return answer(dict(context), status=201, headers={"Location": f"/orders/{message['order']}"})


def show(message, context):
    """GET /orders/{order}"""
    if not context:
        return answer({"error": f"there is no order {message['params']['order']}"}, status=404)
    return dict(context)
