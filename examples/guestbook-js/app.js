// A guestbook for each user: who looks at it is counted, and may leave a note.
// An ordinary Express program, of the poster's shape: nothing in it knows of Liquefy.
"use strict";

const fs = require("fs");
const path = require("path");
const express = require("express");

const app = express();
app.use(express.json());

const CITIES = path.join(__dirname, "cities.json");

// What is remembered: for each user how often the book was looked at, and its notes.
const books = {};

// Internal call: synchronous.
function localProcess(visits) {
  return { visits, regular: visits >= 10 };
}

// External call: asynchronous. The database is a file.
function callExternalDB(user, result, callback) {
  fs.readFile(CITIES, "utf8", (error, text) => {
    if (error) return callback({ ...result, city: "nowhere" });
    const cities = JSON.parse(text);
    callback({ ...result, city: cities[user.length % cities.length] });
  });
}

function store(user, callback) {
  const book = books[user] || { visits: 0, notes: [] };
  book.visits += 1;
  books[user] = book;
  const notes = book.notes.slice(-10);
  const result = localProcess(book.visits);

  callExternalDB(user, result, (found) => {
    callback({ user, ...found, notes });
  });
}

app.get("/:id", (req, res) => {
  store(req.params.id, (page) => {
    res.send(page);
  });
});

app.post("/:id/notes", (req, res) => {
  if (!req.body.text) return res.status(400).send({ error: "a note has a text" });
  const book = books[req.params.id] || { visits: 0, notes: [] };
  book.notes.push({ from: req.body.from || "somebody", text: req.body.text });
  books[req.params.id] = book;
  res.status(201).send({ notes: book.notes.length });
});

app.listen(process.env.PORT || 3000);
