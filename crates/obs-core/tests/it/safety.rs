//! What a row must not say, and how much of it there is when everything fails.

mod capture;
mod entry_points;
mod hostile;
mod redaction;
mod storms;
mod subjects;
mod words;
