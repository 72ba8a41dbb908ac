//! What else shook around an event: the context that some rules ask for.

use serde::Deserialize;

use crate::events::Event;

/// Kilometres in one degree of latitude.
const KM_A_DEGREE: f64 = 111.195;
const MS_AN_HOUR: f64 = 3_600_000.0;

/// How far around an event a rule looks.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    pub(crate) km: f64,
    pub(crate) hours_before: f64,
    pub(crate) hours_after: f64,
}

/// Another event, placed relative to the one that is scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Neighbour {
    /// Kilometres.
    pub(crate) east: f64,
    pub(crate) north: f64,
    /// After the scored event; negative before it.
    pub(crate) hours: f64,
    pub(crate) mag: f64,
}

/// Every other event inside the window, in the order of the table (newest first).
///
/// The distance is flat: right to a percent over the few hundred kilometres a rule looks at.
pub(crate) fn nearby<'a>(
    events: &'a [Event],
    centre: &'a Event,
    window: Window,
) -> impl Iterator<Item = Neighbour> + 'a {
    let shrink = centre.lat.to_radians().cos();
    events.iter().filter_map(move |event| {
        let hours = millis(event.facts.time - centre.facts.time) / MS_AN_HOUR;
        if event.id == centre.id || hours < -window.hours_before || hours > window.hours_after {
            return None;
        }
        let north = (event.lat - centre.lat) * KM_A_DEGREE;
        let east = degrees_east(centre.lon, event.lon) * shrink * KM_A_DEGREE;
        let inside = east * east + north * north <= window.km * window.km;
        inside.then_some(Neighbour {
            east: thousandth(east),
            north: thousandth(north),
            hours: thousandth(hours),
            mag: event.facts.mag,
        })
    })
}

/// Metres and seconds are as much as the table knows, and short numbers read better in a trace.
fn thousandth(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// A difference of times fits a float exactly for 285,000 years.
fn millis(difference: i64) -> f64 {
    difference as f64
}

/// The short way round the globe.
fn degrees_east(from: f64, to: f64) -> f64 {
    let east = to - from;
    if east > 180.0 {
        east - 360.0
    } else if east < -180.0 {
        east + 360.0
    } else {
        east
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::load;

    #[test]
    fn a_neighbour_is_placed_relative_to_the_event() {
        let mut events = load().unwrap();
        events.truncate(2);
        events[0] = Event { lon: 10.0, lat: 60.0, ..events[0].clone() };
        events[1] = Event { lon: 10.5, lat: 60.25, ..events[1].clone() };
        events[1].facts.time = events[0].facts.time - 7_200_000;
        let window = Window { km: 50.0, hours_before: 3.0, hours_after: 0.0 };

        let found: Vec<_> = nearby(&events, &events[0], window).collect();
        assert_eq!(found.len(), 1);
        assert!((found[0].east - 27.799).abs() < 0.01, "{found:?}");
        assert!((found[0].north - 27.799).abs() < 0.01, "{found:?}");
        assert_eq!(found[0].hours, -2.0);
        assert_eq!(nearby(&events, &events[1], window).count(), 0, "the other lies ahead of it");
    }

    #[test]
    fn the_date_line_is_no_border() {
        assert_eq!(degrees_east(179.5, -179.5), 1.0);
        assert_eq!(degrees_east(-179.5, 179.5), -1.0);
        assert_eq!(degrees_east(-10.0, 10.0), 20.0);
    }
}
