//! How much of a signal is taken.

/// Attributes of whatever has attributes, where nothing more special says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttributeLimits {
    /// Characters of a text; `None` is no limit.
    pub(crate) value_length: Option<usize>,
    pub(crate) count: usize,
}

/// Attributes, events and links of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanLimits {
    pub(crate) attributes: AttributeLimits,
    pub(crate) events: usize,
    pub(crate) links: usize,
    pub(crate) event_attributes: usize,
    pub(crate) link_attributes: usize,
}

/// Attributes of a log record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordLimits {
    pub(crate) attributes: AttributeLimits,
}

/// Series an instrument may have, by its type; `None` is the general one, or else the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CardinalityLimits {
    pub(crate) default: Option<usize>,
    pub(crate) counter: Option<usize>,
    pub(crate) gauge: Option<usize>,
    pub(crate) histogram: Option<usize>,
    pub(crate) observable_counter: Option<usize>,
    pub(crate) observable_gauge: Option<usize>,
    pub(crate) observable_up_down_counter: Option<usize>,
    pub(crate) up_down_counter: Option<usize>,
}

/// OpenTelemetry's default of every count.
const COUNT_DEFAULT: usize = 128;

impl Default for AttributeLimits {
    fn default() -> Self {
        Self { value_length: None, count: COUNT_DEFAULT }
    }
}

impl Default for SpanLimits {
    fn default() -> Self {
        Self {
            attributes: AttributeLimits::default(),
            events: COUNT_DEFAULT,
            links: COUNT_DEFAULT,
            event_attributes: COUNT_DEFAULT,
            link_attributes: COUNT_DEFAULT,
        }
    }
}
