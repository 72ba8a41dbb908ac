//! Who we are.

use std::collections::BTreeMap;

use opentelemetry::Value;

/// What is true of this process as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resource {
    /// Wins over an attribute of the name `service.name`.
    pub(crate) service_name: Option<String>,
    pub(crate) attributes: BTreeMap<String, Value>,
}
