//! A harmless record in the shape of another one.
//!
//! Whatever a sick store lacks, it must lack for the canary too: so the canary has the suspect's
//! class and day (the same tables and partitions), a value in the same columns, and texts and
//! documents of the same length that no compression makes smaller (the same pages). Only what
//! could be poison is different: what the texts, documents and times say.

use obs_core::{Json, RunRecord, Timestamp};
use uuid::Uuid;

use crate::retry::Jitter;

/// The longest harmless word, in bytes: as long as the longest that an index holds.
const WORD_BYTES_MAX: usize = 200;

/// The longest harmless message, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// The longest harmless document, in bytes.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;

/// The last time that every store can hold: the year 2200.
const TIME_LAST: i64 = 7_258_118_400_000_000;

/// The time and the version in a UUIDv7; the rest is chance.
const ID_KEPT: u128 = !0 << 80 | 0xf << 76 | 0x3 << 62;

/// A record that every healthy store takes, shaped like `suspect`.
pub(crate) fn like(suspect: &RunRecord, chance: &mut Jitter) -> Box<RunRecord> {
    let mut canary = Box::new(suspect.clone());
    canary.run_id = id(suspect.run_id, chance);
    for text in [
        &mut canary.subject,
        &mut canary.correlation_id,
        &mut canary.error_type,
        &mut canary.error_node,
        &mut canary.case_name,
        &mut canary.trace_id,
        &mut canary.span_id,
    ] {
        *text = text.as_deref().map(|text| word(text, chance).into());
    }
    canary.error_message =
        canary.error_message.map(|text| noise(text.len().min(MESSAGE_BYTES_MAX), chance).into());
    for text in [&mut canary.kind, &mut canary.strategy_id, &mut canary.strategy_version] {
        *text = word(text, chance).into();
    }
    for text in [&mut canary.realm, &mut canary.strategy_type, &mut canary.strategy_hash] {
        *text = text.as_deref().map(|text| word(text, chance).into());
    }
    for document in [&mut canary.input, &mut canary.attributes, &mut canary.trace] {
        *document = document.take().and_then(|json| string_of(json.as_str().len(), chance));
    }
    for time in [&mut canary.started_at, &mut canary.finished_at] {
        *time = Timestamp::from_micros(time.as_micros().clamp(0, TIME_LAST));
    }
    canary.value = canary.value.map(sane);
    canary.inclusion_probability = sane(canary.inclusion_probability);
    canary.sample_rate = sane(canary.sample_rate);
    canary
}

/// A canary's companion: a row of its own, with as long a document as there may be.
pub(crate) fn filler(canary: &RunRecord, chance: &mut Jitter) -> RunRecord {
    let mut filler = canary.clone();
    filler.run_id = id(canary.run_id, chance);
    // Whichever of them the table of such a row has.
    filler.trace = string_of(DOCUMENT_BYTES_MAX, chance);
    if filler.audit.is_some() {
        filler.attributes = string_of(DOCUMENT_BYTES_MAX, chance);
    }
    filler
}

/// The same day, so that it belongs to the same partition.
fn id(suspect: Uuid, chance: &mut Jitter) -> Uuid {
    let random = u128::from(chance.next()) << 64 | u128::from(chance.next());
    Uuid::from_u128(suspect.as_u128() & ID_KEPT | random & !ID_KEPT)
}

/// As many characters as the suspect's text: a column may have become narrower.
fn word(suspect: &str, chance: &mut Jitter) -> String {
    noise(suspect.chars().take(WORD_BYTES_MAX).count(), chance)
}

/// A JSON string that is `bytes` long with its quotes.
fn string_of(bytes: usize, chance: &mut Jitter) -> Option<Json> {
    let text = noise(bytes.min(DOCUMENT_BYTES_MAX).saturating_sub(2), chance);
    Json::parse(&format!("\"{text}\"")).ok()
}

/// So many characters of chance: six bits each, so that compression finds nothing to repeat.
#[expect(clippy::indexing_slicing, reason = "six bits are below the length of the alphabet")]
fn noise(bytes: usize, chance: &mut Jitter) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const PER_WORD: usize = 10;
    let mut text = String::with_capacity(bytes);
    while text.len() < bytes {
        let mut word = chance.next();
        for _ in 0..PER_WORD.min(bytes - text.len()) {
            text.push(char::from(ALPHABET[(word & 63) as usize]));
            word >>= 6;
        }
    }
    text
}

const fn sane(number: f64) -> f64 {
    if number.is_finite() { number } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use obs_core::testing::record;

    use super::*;
    use crate::columns::{PAYLOAD, RUN, Read};

    fn poisoned() -> RunRecord {
        let mut poisoned = record("bonus\0", "1");
        poisoned.subject = Some("user\0".into());
        poisoned.error_message = Some("\0".repeat(5_000).into());
        poisoned.trace = Some(Json::parse(r#""\u0000\ud800""#).unwrap());
        poisoned.input = Some(Json::parse(&format!("\"{}\"", "a".repeat(70_000))).unwrap());
        poisoned.value = Some(f64::NAN);
        poisoned.inclusion_probability = f64::INFINITY;
        poisoned.started_at = Timestamp::from_micros(i64::MAX);
        poisoned.finished_at = Timestamp::from_micros(i64::MIN);
        poisoned
    }

    #[test]
    fn nothing_that_could_be_poison_is_in_the_canary() {
        let canary = like(&poisoned(), &mut Jitter::seeded(1));
        let is_plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        for column in RUN.iter().chain(&PAYLOAD) {
            let fine = match column.read {
                Read::Text(text) => text(&canary).is_none_or(is_plain),
                Read::Json(json) => json(&canary).is_none_or(|json| is_plain(json.as_str())),
                Read::Float(number) => number(&canary).is_none_or(|number| number.is_finite()),
                _ => true,
            };
            assert!(fine, "{}", column.name);
        }
        assert_eq!(canary.started_at.as_micros(), TIME_LAST);
        assert_eq!(canary.finished_at.as_micros(), 0);
    }

    #[test]
    fn it_goes_to_the_same_partition_under_an_id_of_its_own() {
        let suspect = record("bonus", "1");
        let canary = like(&suspect, &mut Jitter::seeded(1));
        assert_eq!(canary.class(), suspect.class());
        assert_eq!(canary.run_id.as_u128() >> 80, suspect.run_id.as_u128() >> 80);
        assert_eq!(canary.run_id.get_version_num(), 7);
        assert_eq!(canary.run_id.get_variant(), uuid::Variant::RFC4122);
        assert_ne!(canary.run_id, suspect.run_id);
    }

    #[test]
    fn it_is_as_long_as_the_suspect_within_the_limits_of_records() {
        let suspect = poisoned();
        let canary = like(&suspect, &mut Jitter::seeded(1));
        assert_eq!(canary.strategy_id.len(), suspect.strategy_id.len());
        assert_eq!(canary.trace.map(|json| json.as_str().len()), Some(14));
        assert_eq!(canary.error_message.map(|text| text.len()), Some(MESSAGE_BYTES_MAX));
        assert_eq!(canary.input.map(|json| json.as_str().len()), Some(DOCUMENT_BYTES_MAX));
        assert_eq!(canary.case_name, None, "what the suspect lacks, it lacks too");
    }

    #[test]
    fn its_texts_repeat_nothing_that_could_be_compressed() {
        let text = noise(4_000, &mut Jitter::seeded(1));
        let mut seen = std::collections::HashSet::new();
        let repeated = text.as_bytes().windows(4).filter(|four| !seen.insert(*four)).count();
        assert!(repeated < 10, "{repeated}");
    }
}
