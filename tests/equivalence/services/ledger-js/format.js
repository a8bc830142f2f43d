"use strict";

exports.format = (journal) => journal.map((entry) => `${entry.number} ${entry.owner} ${entry.amount}\n`).join("");
