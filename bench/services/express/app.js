// The service as one writes it in Express.
const express = require("express");

const app = express();
const visits = {};

app.get("/:user", (req, res) => {
  const user = req.params.user;
  visits[user] = (visits[user] ?? 0) + 1;
  res.json({ user, visits: visits[user], regular: visits[user] >= 10, city: "Lyon" });
});

app.listen(process.env.PORT ?? 3000, "127.0.0.1");
