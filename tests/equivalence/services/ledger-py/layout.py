"""The journal as text."""


def layout(journal):
    return "".join(f"{entry['number']} {entry['owner']} {entry['amount']}\n" for entry in journal)
