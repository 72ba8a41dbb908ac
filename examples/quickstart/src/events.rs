//! The data: one week of earthquakes, as the U.S. Geological Survey published it.

use serde::{Deserialize, Serialize};

const EARTHQUAKES: &str = include_str!("../data/earthquakes.json");

/// One earthquake: what the rules read, and what a kept row stores as its input.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    /// Degrees east.
    pub(crate) lon: f64,
    /// Degrees north.
    pub(crate) lat: f64,
    /// Kilometres; negative above sea level.
    pub(crate) depth: f64,
    #[serde(flatten)]
    pub(crate) facts: Facts,
}

/// What was measured. An `Option` is a value that is missing in the table, not a default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Facts {
    pub(crate) mag: f64,
    #[serde(rename = "magType")]
    pub(crate) mag_type: String,
    pub(crate) place: String,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) updated: i64,
    /// Minutes from UTC.
    pub(crate) tz: i32,
    pub(crate) status: String,
    #[serde(rename = "type")]
    pub(crate) type_: String,
    pub(crate) net: String,
    pub(crate) sig: i32,
    pub(crate) tsunami: u8,
    pub(crate) alert: Option<String>,
    pub(crate) felt: Option<u32>,
    pub(crate) cdi: Option<f64>,
    pub(crate) mmi: Option<f64>,
    pub(crate) nst: Option<u32>,
    pub(crate) dmin: Option<f64>,
    pub(crate) rms: Option<f64>,
    pub(crate) gap: Option<f64>,
}

/// Reads the embedded table.
///
/// # Errors
/// When the file is not the GeoJSON that `data/README.md` describes.
pub(crate) fn load() -> Result<Vec<Event>, serde_json::Error> {
    let table: Table = serde_json::from_str(EARTHQUAKES)?;
    Ok(table.features.into_iter().map(Event::from).collect())
}

#[derive(Deserialize)]
struct Table {
    features: Vec<Feature>,
}

#[derive(Deserialize)]
struct Feature {
    id: String,
    properties: Facts,
    geometry: Point,
}

#[derive(Deserialize)]
struct Point {
    coordinates: [f64; 3],
}

impl From<Feature> for Event {
    fn from(feature: Feature) -> Self {
        let [lon, lat, depth] = feature.geometry.coordinates;
        Self { id: feature.id, lon, lat, depth, facts: feature.properties }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_gaps_that_its_readme_counts() {
        let events = load().unwrap();
        let missing = |is_missing: fn(&Facts) -> bool| {
            events.iter().filter(|event| is_missing(&event.facts)).count()
        };
        assert_eq!(events.len(), 1_707);
        assert_eq!(missing(|facts| facts.nst.is_none()), 465);
        assert_eq!(missing(|facts| facts.dmin.is_none()), 305);
        assert_eq!(missing(|facts| facts.gap.is_none()), 303);
        assert_eq!(missing(|facts| facts.rms.is_none()), 5);
        assert_eq!(missing(|facts| facts.rms == Some(0.0)), 2);
        assert_eq!(missing(|facts| facts.felt.is_none()), 1_580);
        assert_eq!(missing(|facts| facts.cdi.is_none()), 1_580);
        assert_eq!(missing(|facts| facts.mmi.is_none()), 1_691);
        assert_eq!(missing(|facts| facts.alert.is_none()), 1_695);
    }

    #[test]
    fn an_event_is_written_flat_and_a_missing_value_stays_null() {
        let events = load().unwrap();
        let value = serde_json::to_value(&events[0]).unwrap();
        assert_eq!(value["id"], "ci37868143");
        assert_eq!(value["mag"], 2.0);
        assert_eq!(value["depth"], 26.49);
        assert_eq!(value["magType"], "ml");
        assert!(value["felt"].is_null());
    }
}
