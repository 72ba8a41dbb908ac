//! Which part of a batch is written next, and which record is at fault: the decision, without I/O.
//!
//! A batch that fails says nothing about its records: the store may be sick. So a *canary*, a
//! harmless record of the same shape, has to pass before anything else is believed:
//!
//! * it does not pass: the store is at fault, nothing is learned about any record;
//! * it passes: the batch is halved until a single record fails. That one is tried again, and only
//!   when the canary passes after both of its failures is the record convicted.
//!
//! Beyond the batch's own statement, one bad record in `n` costs at most `2 * log2(n) + 4`: two
//! halves at each level, the record again, and three canaries.

use std::ops::Range;

/// How often a record has to fail alone, each time with a canary that passes afterwards.
const STRIKES: u8 = 2;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Write these records in one statement.
    Write(Range<usize>),
    /// Try a harmless record in the shape of this one.
    Canary(usize),
    /// The store does not take this record.
    Convict(usize),
    /// Every record is written or convicted.
    Done,
}

/// The parts of one batch that are neither written nor convicted.
#[derive(Clone, Debug)]
pub(crate) struct Bisection {
    /// Disjoint and not empty; the next one is the last.
    todo: Vec<Range<usize>>,
    /// How often the next part, a single record, has failed.
    strikes: u8,
    /// A canary must pass before anything else happens.
    canary_owed: bool,
    /// A canary has passed since the store was last at fault: halving needs no other.
    trusted: bool,
    /// Something of this batch has failed.
    suspicious: bool,
}

impl Bisection {
    /// Of a batch of so many records.
    pub(crate) fn of(records: usize) -> Self {
        let whole = (records > 0).then_some(0..records);
        Self {
            todo: whole.into_iter().collect(),
            strikes: 0,
            canary_owed: false,
            trusted: false,
            suspicious: false,
        }
    }

    pub(crate) fn next(&self) -> Next {
        let Some(part) = self.todo.last() else { return Next::Done };
        if self.canary_owed {
            Next::Canary(part.start)
        } else if self.strikes >= STRIKES {
            Next::Convict(part.start)
        } else {
            Next::Write(part.clone())
        }
    }

    /// How many records are neither written nor convicted.
    pub(crate) fn left(&self) -> usize {
        self.todo.iter().map(ExactSizeIterator::len).sum()
    }

    /// The next part is a single record that has failed.
    pub(crate) const fn is_on_trial(&self) -> bool {
        self.strikes > 0
    }

    /// The next part is written, or its record convicted.
    pub(crate) fn settled(&mut self) {
        self.todo.pop();
        self.strikes = 0;
    }

    /// The store refused the next part.
    pub(crate) fn refused(&mut self) {
        self.suspicious = true;
        if self.halve() {
            self.canary_owed = !self.trusted;
        } else {
            self.strikes = self.strikes.saturating_add(1);
            self.canary_owed = true;
        }
    }

    pub(crate) const fn canary_passed(&mut self) {
        self.canary_owed = false;
        self.trusted = true;
    }

    /// The next part took too long, which is no verdict; a smaller one may get through.
    pub(crate) fn too_slow(&mut self) {
        self.suspicious = true;
        if !self.halve() {
            self.todo.rotate_right(1);
        }
        self.strikes = 0;
        self.store_failed();
    }

    /// The store is at fault: what was held against a record is forgotten, and its siblings go
    /// first.
    pub(crate) fn store_failed(&mut self) {
        if self.is_on_trial() {
            self.todo.rotate_right(1);
        }
        self.strikes = 0;
        self.trusted = false;
        self.canary_owed = self.suspicious;
    }

    /// Splits the next part, unless it is a single record.
    fn halve(&mut self) -> bool {
        match self.todo.pop() {
            Some(part) if part.len() > 1 => {
                let middle = part.start + part.len() / 2;
                self.todo.push(middle..part.end);
                self.todo.push(part.start..middle);
                true
            }
            part => {
                self.todo.extend(part);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
