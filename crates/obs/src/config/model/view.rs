//! Views: another name, other buckets, fewer attributes, or nothing of an instrument.

/// What becomes of the instruments that the selector matches.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    pub(crate) selector: Selector,
    pub(crate) stream: Stream,
}

/// All that is given must match; `*` and `?` in the name match anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) instrument_name: Option<String>,
    pub(crate) instrument_type: Option<InstrumentType>,
    pub(crate) unit: Option<String>,
    pub(crate) meter_name: Option<String>,
    pub(crate) meter_version: Option<String>,
    pub(crate) meter_schema_url: Option<String>,
}

/// Kinds of instruments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InstrumentType {
    Counter,
    Gauge,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
}

/// What is different; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stream {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) aggregation: Option<Aggregation>,
    pub(crate) aggregation_cardinality_limit: Option<usize>,
    pub(crate) attribute_keys: Option<Matching>,
}

/// How measurements are summed up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Aggregation {
    Default,
    Drop,
    ExplicitBuckets { boundaries: Option<Vec<f64>>, record_min_max: bool },
    Base2Exponential { max_scale: i8, max_size: u32, record_min_max: bool },
    LastValue,
    Sum,
}

/// Names: those included, or all, without those excluded. `*` and `?` match anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matching {
    pub(crate) included: Option<Vec<String>>,
    pub(crate) excluded: Vec<String>,
}
