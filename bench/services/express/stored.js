// The same with what it counts in Redis.
const express = require("express");
const { createClient } = require("redis");

const app = express();
const store = createClient({ socket: { path: process.env.REDIS_URL.replace("unix://", "") } });
store.on("error", () => {});

app.get("/:user", async (req, res) => {
  const user = req.params.user;
  const visits = await store.hIncrBy("visits", user, 1);
  const known = { user, visits, regular: visits >= 10 };
  await Promise.resolve();
  res.json({ ...known, city: "Lyon" });
});

store.connect().then(() => app.listen(process.env.PORT, "127.0.0.1"));
