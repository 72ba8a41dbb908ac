//! What a run gathers while it goes on: one buffer per run, reused by the thread's next run.

use std::{borrow::Cow, cell::RefCell, fmt};

use serde::{Serialize, Serializer, ser::SerializeMap};
use uuid::Uuid;

use crate::{
    encode::{EncodeLimits, Redact, Sanitized, encode_redacted},
    entry,
    limits::{
        ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, DEPTH_MAX, SCRATCH_DOCUMENT_BYTES_MAX,
        SCRATCH_POOL_MAX, STRING_BYTES_MAX, WALK_BYTES_MAX,
    },
    record::Json,
    redact::{Place, Rules},
    trace::Trace,
};

/// A value of an attribute of a run.
///
/// ```
/// use obs_core::AttributeValue;
/// assert_eq!(AttributeValue::from(7), AttributeValue::I64(7));
/// assert_eq!(AttributeValue::from("blue"), AttributeValue::Text("blue".into()));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AttributeValue {
    /// True or false.
    Bool(bool),
    /// A whole number.
    I64(i64),
    /// A number; one that is not finite becomes `null` in the row.
    F64(f64),
    /// A text, at most 16 KiB.
    Text(Cow<'static, str>),
}

impl From<bool> for AttributeValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i32> for AttributeValue {
    fn from(value: i32) -> Self {
        Self::I64(value.into())
    }
}

impl From<u32> for AttributeValue {
    fn from(value: u32) -> Self {
        Self::I64(value.into())
    }
}

impl From<i64> for AttributeValue {
    fn from(value: i64) -> Self {
        Self::I64(value)
    }
}

impl From<f64> for AttributeValue {
    fn from(value: f64) -> Self {
        Self::F64(value)
    }
}

impl From<&'static str> for AttributeValue {
    fn from(value: &'static str) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl From<String> for AttributeValue {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

impl Serialize for AttributeValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::I64(value) => serializer.serialize_i64(*value),
            Self::F64(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
        }
    }
}

/// The gatherings of one run.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) subject: String,
    pub(crate) correlation_id: String,
    pub(crate) case: String,
    pub(crate) trace: Trace,
    pub(crate) changed: Sanitized,
    pub(crate) parent: Option<Uuid>,
    /// Some value of the trace is an array or object.
    pub(crate) has_documents: bool,
    /// Some text of it has to be searched for secrets, where they are looked for.
    pub(crate) has_signs: bool,
    attributes: Vec<(Cow<'static, str>, AttributeValue)>,
    /// Where the input of a run that is kept is encoded, over that of the one before. What was redacted is not in a text here;
    /// digits of a number that was may be behind it, which nobody reads.
    pub(crate) document: Vec<u8>,
}

thread_local! {
    // Boxes on purpose: a run holds one and hands it back without moving what is inside.
    #[expect(clippy::vec_box, reason = "the boxes themselves travel between pool and run")]
    static POOL: RefCell<Vec<Box<Scratch>>> = const { RefCell::new(Vec::new()) };
}

impl Scratch {
    /// A buffer that an earlier run of this thread used, or a new one.
    pub(crate) fn take() -> Box<Self> {
        POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten().unwrap_or_default()
    }

    /// Hands the buffer to the next run of this thread.
    pub(crate) fn give_back(mut self: Box<Self>) {
        self.clear();
        // A thread that is ending has no next run; the buffer is freed.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < SCRATCH_POOL_MAX {
                pool.push(self);
            }
        });
    }

    fn clear(&mut self) {
        self.subject.clear();
        self.correlation_id.clear();
        self.case.clear();
        self.trace.clear();
        self.changed = Sanitized::default();
        self.parent = None;
        self.has_documents = false;
        self.has_signs = false;
        self.attributes.clear();
        self.document.truncate(SCRATCH_DOCUMENT_BYTES_MAX);
        self.document.shrink_to(SCRATCH_DOCUMENT_BYTES_MAX);
    }

    pub(crate) fn attribute(&mut self, key: Cow<'static, str>, value: AttributeValue) {
        if let Some((_, known)) = self.attributes.iter_mut().find(|(known, _)| *known == key) {
            *known = value;
        } else if self.attributes.len() < ATTRIBUTES_MAX {
            self.attributes.push((key, value));
        } else {
            self.changed.size += 1;
        }
    }

    /// The attributes as one JSON object.
    pub(crate) fn attributes_json(&mut self, rules: &Rules) -> Option<Json> {
        if self.attributes.is_empty() {
            return None;
        }
        let limits = EncodeLimits {
            bytes_max: ATTRIBUTES_BYTES_MAX,
            string_bytes_max: STRING_BYTES_MAX,
            depth_max: DEPTH_MAX,
            walk_bytes_max: WALK_BYTES_MAX,
        };
        let mut out = Vec::new();
        let redact = Redact { rules, place: Place::Attributes, shapes: None };
        let attributes = Attributes(&self.attributes);
        encode_redacted(&attributes, (&limits, redact), &mut out, &mut self.changed);
        Some(Json::trusted(out.into()))
    }
}

struct Attributes<'a>(&'a [(Cow<'static, str>, AttributeValue)]);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// One node of a run, while its trace entry is being written; dropping it ends the entry.
///
/// ```
/// # use obs_core::testing::TestObs;
/// # let test = TestObs::new();
/// # let strategy = test.obs().kind("dsl").strategy("bonus").version("1").build()?;
/// let mut run = strategy.start();
/// run.node("n1").kind("compare").branch("match").value(&42);
/// run.finish(Ok::<_, String>(()))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Node<'r> {
    // `None` where no trace is kept; the node was counted all the same.
    open: Option<Open<'r>>,
}

struct Open<'r> {
    scratch: &'r mut Scratch,
    offset_micros: u64,
    entries_max: u32,
    /// Which parts the entry has: the first of each counts.
    parts: u8,
}

impl<'r> Node<'r> {
    pub(crate) const fn untraced() -> Self {
        Self { open: None }
    }

    pub(crate) fn traced(
        scratch: &'r mut Scratch,
        id: &str,
        offset_micros: u64,
        entries_max: u32,
    ) -> Self {
        scratch.begin_entry(id);
        Self { open: Some(Open { scratch, offset_micros, entries_max, parts: 0 }) }
    }

    /// What the node is, e.g. `compare`; the entry's `type`, at most 128 bytes.
    ///
    /// ```
    /// # use obs_core::testing::TestObs;
    /// # let test = TestObs::new();
    /// # let mut run = test.obs().kind("dsl").strategy("bonus").version("1").build()?.start();
    /// run.node("n1").kind("compare");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    // The node is complete without its result: nothing is lost when that is not used.
    #[expect(
        clippy::return_self_not_must_use,
        reason = "dropping a node ends its entry, as wanted"
    )]
    pub fn kind(self, kind: &str) -> Self {
        self.word(HAS_TYPE, entry::TYPE, kind)
    }

    /// The phase of the run that the node belongs to, e.g. `pre`; at most 128 bytes.
    ///
    /// ```
    /// # use obs_core::testing::TestObs;
    /// # let test = TestObs::new();
    /// # let mut run = test.obs().kind("dsl").strategy("bonus").version("1").build()?.start();
    /// run.node("n1").phase("pre");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[expect(
        clippy::return_self_not_must_use,
        reason = "dropping a node ends its entry, as wanted"
    )]
    pub fn phase(self, phase: &str) -> Self {
        self.word(HAS_PHASE, entry::PHASE, phase)
    }

    /// The branch that the node took, e.g. `match` or `skip`; at most 128 bytes.
    ///
    /// ```
    /// # use obs_core::testing::TestObs;
    /// # let test = TestObs::new();
    /// # let mut run = test.obs().kind("dsl").strategy("bonus").version("1").build()?.start();
    /// run.node("n1").branch("match");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[expect(
        clippy::return_self_not_must_use,
        reason = "dropping a node ends its entry, as wanted"
    )]
    pub fn branch(self, branch: &str) -> Self {
        self.word(HAS_BRANCH, entry::BRANCH, branch)
    }

    /// What the node computed, encoded at once; an entry has at most 2 KiB, and of a larger value at
    /// most 16 KiB are looked at to learn its size. The first value counts.
    ///
    /// ```
    /// # use obs_core::testing::TestObs;
    /// # let test = TestObs::new();
    /// # let mut run = test.obs().kind("dsl").strategy("bonus").version("1").build()?.start();
    /// run.node("n1").value(&[1, 2, 3]);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[expect(
        clippy::return_self_not_must_use,
        reason = "dropping a node ends its entry, as wanted"
    )]
    pub fn value<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        if let Some(open) = self.part(HAS_VALUE) {
            open.scratch.entry_value(value);
        }
        self
    }

    #[inline]
    fn word<const N: usize>(mut self, part: u8, name: &[u8; N], word: &str) -> Self {
        if let Some(open) = self.part(part) {
            open.scratch.entry_word(name, word);
        }
        self
    }

    /// The open entry, if it does not have this part yet.
    fn part(&mut self, part: u8) -> Option<&mut Open<'r>> {
        let open = self.open.as_mut().filter(|open| open.parts & part == 0)?;
        open.parts |= part;
        Some(open)
    }
}

const HAS_TYPE: u8 = 1;
const HAS_PHASE: u8 = 2;
const HAS_BRANCH: u8 = 4;
const HAS_VALUE: u8 = 8;

impl Drop for Node<'_> {
    fn drop(&mut self) {
        if let Some(open) = &mut self.open {
            open.scratch.end_entry(open.offset_micros, open.entries_max as usize);
        }
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("traced", &self.open.is_some()).finish()
    }
}
