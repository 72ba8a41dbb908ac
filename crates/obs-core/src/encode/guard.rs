//! What an encoder asks before it writes names, texts and numbers of a document.

use std::borrow::Cow;

use super::{Redact, Sanitized};
use crate::redact::{Glance, Named, Place, Rules, Tag};

/// Where the names in a trace are ours: inside of the array, inside of an entry.
const ENTRY_DEPTH: usize = 2;
/// The only one of them whose value is somebody else's.
const ENTRY_VALUE: &[u8] = b"value";

/// The rules, and where in the document they stand.
pub(super) struct Guard<'r> {
    redact: Redact<'r>,
    /// Names at this depth are ours.
    entry_depth: Option<usize>,
    /// The depth of the name below which everything is allowed.
    allowed_at: Option<usize>,
    /// The name that was written last, for a hook.
    key: Option<String>,
    /// The rules look at each text for itself, and texts are what is stored.
    pub(super) is_simple: bool,
}

impl<'r> Guard<'r> {
    pub(super) fn new(redact: Redact<'r>) -> Self {
        let entry_depth = (redact.place == Place::Trace).then_some(ENTRY_DEPTH);
        let is_simple = redact.rules.are_simple() && redact.shapes.is_none();
        Self { redact, entry_depth, allowed_at: None, key: None, is_simple }
    }

    /// The same rules for a piece of a document.
    pub(super) fn of_piece(&self) -> Self {
        Self { entry_depth: None, key: None, ..Self::new(self.redact) }
    }

    /// Whether a text may be written as it is; `false` where that is not settled by a look at it alone.
    #[inline]
    pub(super) fn passes(&self, text: &str, glance: Glance) -> bool {
        self.is_simple && self.redact.rules.pass(text, glance)
    }

    /// The same for a name, which may be written without an escape then, and for its value, which need not
    /// be hidden.
    #[inline]
    pub(super) fn passes_name(&self, name: &str) -> bool {
        self.is_simple && self.redact.rules.pass_name(name)
    }

    /// Under which names are known that pass.
    pub(super) const fn tag(&self) -> Tag {
        if self.is_simple { self.redact.rules.tag() } else { Tag::NOBODY }
    }

    /// The same for a number, truth or null of so many bytes.
    #[inline]
    pub(super) const fn passes_scalar(&self, bytes: usize) -> bool {
        self.is_simple && !Rules::concern_number(bytes)
    }

    /// Takes note of a name at this depth; true if its value must not be written.
    pub(super) fn names(&mut self, name: &[u8], depth: usize) -> bool {
        if self.allowed_at.is_some_and(|at| depth <= at) {
            self.allowed_at = None;
        }
        if self.entry_depth == Some(depth) {
            if name != ENTRY_VALUE {
                self.allowed_at = Some(depth);
            }
            return false;
        }
        if self.redact.rules.has_hook() {
            self.key = Some(String::from_utf8_lossy(name).into_owned());
        }
        match self.redact.rules.named(name) {
            Named::Hidden => true,
            Named::Allowed => {
                self.allowed_at.get_or_insert(depth);
                false
            }
            Named::Neither => false,
        }
    }

    /// An array or object was closed; so many are open now.
    pub(super) fn closed(&mut self, depth: usize) {
        self.key = None;
        if self.allowed_at.is_some_and(|at| depth < at) {
            self.allowed_at = None;
        }
    }

    /// Whether a text, number or truth here is below no name that is allowed.
    pub(super) fn hides_here(&self) -> bool {
        self.redact.rules.has_allowed() && self.allowed_at.is_none()
    }

    /// A name as it may be written.
    pub(super) fn name<'t>(&self, name: &'t str, changed: &mut Sanitized) -> Cow<'t, str> {
        self.redact.rules.by_looks(name, changed)
    }

    /// What is written instead of a text where its shape is all that is stored.
    pub(super) fn shape_of_text(&self, text: &str) -> Option<String> {
        self.redact.shapes.map(|shapes| shapes.text(text))
    }

    /// The same for a number, `true` or `false`.
    fn shape_of_scalar(&self, scalar: &str) -> Option<String> {
        let shapes = self.redact.shapes?;
        Some(if is_number(scalar) { shapes.number(scalar) } else { "boolean".to_owned() })
    }

    pub(super) fn text<'t>(&self, text: &'t str, changed: &mut Sanitized) -> Cow<'t, str> {
        self.redact.rules.text(self.redact.place, self.key.as_deref(), text, changed)
    }

    /// What is written instead of a number, `true` or `false`, if not itself.
    pub(super) fn scalar(&self, scalar: &str, changed: &mut Sanitized) -> Option<String> {
        self.shape_of_scalar(scalar).or_else(|| {
            let Redact { rules, place, .. } = self.redact;
            is_number(scalar)
                .then(|| rules.number(place, self.key.as_deref(), scalar, changed))
                .flatten()
        })
    }
}

fn is_number(scalar: &str) -> bool {
    scalar.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}
