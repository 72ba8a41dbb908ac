use std::time::Duration;

use obs_core::{AuditLevel, Json, KeepReason, Status, Timestamp, testing::record};
use proptest::{option, prelude::*};
use uuid::Uuid;

use super::{super::sim::in_soak, *};

fn text() -> impl Strategy<Value = String> {
    // No NUL: nothing that a record may hold has one.
    "[^\0]{0,40}"
}

fn json() -> impl Strategy<Value = Json> {
    text().prop_map(|text| {
        Json::parse(&serde_json::to_string(&serde_json::json!({ "k": [text, 1.5, null] })).unwrap())
            .unwrap()
    })
}

fn texts(record: &mut RunRecord, texts: [Option<String>; 8]) {
    let texts = texts.map(|text| text.map(String::into_boxed_str));
    [
        record.subject,
        record.correlation_id,
        record.error_type,
        record.error_message,
        record.error_node,
        record.case_name,
        record.trace_id,
        record.span_id,
    ] = texts;
}

fn any_record() -> impl Strategy<Value = RunRecord> {
    let names = (text(), text(), option::of(text()), option::of(text()), option::of(text()));
    let own = prop::array::uniform8(option::of(text()));
    let documents = prop::array::uniform3(option::of(json()));
    let numbers = (any::<[u128; 3]>(), any::<[i64; 2]>(), any::<[u64; 6]>());
    let rest = (
        prop::sample::select(&Status::ALL[..]),
        option::of(-1e300..1e300),
        (0.0..=1.0, 0.0..=1.0),
        any::<[bool; 3]>(),
        option::of(prop::sample::select(&AuditLevel::ALL[..])),
    );
    (names, own, documents, numbers, rest).prop_map(|(names, own, documents, numbers, rest)| {
        let (ids, times, counts) = numbers;
        let mut record = record(&names.0, &names.1);
        record.run_id = Uuid::from_u128(ids[0]);
        record.epoch = Uuid::from_u128(ids[1]);
        record.parent_run_id = (ids[2] % 2 == 0).then_some(Uuid::from_u128(ids[2]));
        record.realm = names.2.map(Into::into);
        record.strategy_type = names.3.map(Into::into);
        record.strategy_hash = names.4.map(Into::into);
        texts(&mut record, own);
        [record.input, record.attributes, record.trace] = documents;
        record.started_at = Timestamp::from_micros(times[0]);
        record.finished_at = Timestamp::from_micros(times[1]);
        record.duration = Duration::from_nanos(counts[0]);
        [
            record.nodes,
            record.input_bytes,
            record.trace_total,
            record.trace_kept,
            record.trace_bytes,
        ] = [counts[1], counts[2], counts[3], counts[4], counts[5]];
        (record.status, record.value) = (rest.0, rest.1);
        (record.inclusion_probability, record.sample_rate) = rest.2;
        (record.slow, record.input_truncated) = (rest.3[0], rest.3[1]);
        record.audit = rest.4;
        record.keep_reason = if rest.3[2] { KeepReason::Failure } else { KeepReason::First };
        record
    })
}

fn bytes_of(record: &RunRecord) -> Vec<u8> {
    let mut bytes = vec![0xa5; bound(record)];
    let len = encode_into(record, &mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

/// What postcard makes of a record, which is what the schema says.
fn postcards(record: &RunRecord) -> Vec<u8> {
    let mut bytes = vec![SCHEMA];
    bytes.extend(postcard::to_allocvec(record).unwrap());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(in_soak(2_000, 10_000)))]

    #[test]
    fn a_record_is_decoded_as_it_was_encoded(record in any_record()) {
        prop_assert_eq!(decode(&bytes_of(&record)).unwrap(), record);
    }

    #[test]
    fn a_record_is_written_as_postcard_writes_it_and_needs_no_more_room_than_is_said(
        record in any_record(),
        long in 0_usize..20_000,
        small in any::<prop::sample::Index>(),
    ) {
        let mut record = record;
        if long.is_multiple_of(3) {
            record.error_message = Some("m".repeat(long).into());
            record.nodes >>= long % 64;
            record.input_bytes >>= long % 57;
        }
        let expected = postcards(&record);
        prop_assert_eq!(&bytes_of(&record), &expected);
        let mut room = vec![0; small.index(expected.len())];
        prop_assert_eq!(encode_into(&record, &mut room), Err(EncodeError), "in {} bytes", room.len());
    }

    #[test]
    fn a_record_that_is_cut_short_or_followed_by_more_is_none(
        record in any_record(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = bytes_of(&record);
        prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert!(matches!(decode(&bytes), Err(DecodeError::Rest(1))));
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
        let mut known = vec![SCHEMA];
        known.extend(bytes);
        let _ = decode(&known);
    }

    #[test]
    fn a_changed_record_is_a_record_or_an_error(
        record in any_record(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = bytes_of(&record);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode(&bytes);
    }
}

#[test]
fn a_length_beyond_the_bytes_that_are_there_allocates_nothing_for_it() {
    let mut bytes = bytes_of(&record("bonus", "1"));
    // Schema, two ids with their lengths; then the kind's length.
    let at = 1 + 2 * 17;
    assert_eq!(usize::from(bytes[at]), record("bonus", "1").kind.len());
    bytes.splice(at..=at, [0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(matches!(decode(&bytes), Err(DecodeError::Malformed(_))));
}

#[test]
fn what_no_store_could_take_is_no_record() {
    type Break = fn(&mut RunRecord);
    let table: [(Break, &str); 4] = [
        (|r| r.error_message = Some("a\0b".into()), "a text with NUL"),
        (|r| r.kind = "\0".into(), "a text with NUL"),
        (|r| r.value = Some(f64::NAN), "a value that is not finite"),
        (|r| r.sample_rate = 1.5, "a probability outside of 0 to 1"),
    ];
    for (change, what) in table {
        let mut record = record("bonus", "1");
        change(&mut record);
        let error = decode(&bytes_of(&record)).unwrap_err();
        assert!(error.to_string().starts_with(what), "{error}");
    }
}

#[test]
fn a_payload_of_another_schema_is_said_to_be_one() {
    let mut bytes = bytes_of(&record("bonus", "1"));
    bytes[0] = SCHEMA + 1;
    assert!(matches!(decode(&bytes), Err(DecodeError::Schema(3))));
    assert!(matches!(decode(&[]), Err(DecodeError::Empty)));
}

/// What an earlier build of this schema wrote. If this fails, a [`RunRecord`] has changed: take the next
/// [`SCHEMA`], and say here what that one looks like.
#[test]
fn a_record_written_before_can_still_be_read() {
    let mut record = record("bonus", "1");
    record.run_id = Uuid::from_u128(1);
    record.epoch = Uuid::from_u128(2);
    record.input = Some(Json::parse("[1]").unwrap());
    record.started_at = Timestamp::from_micros(1_767_225_600_000_000);
    record.finished_at = Timestamp::from_micros(1_767_225_600_000_001);
    let hex: String = bytes_of(&record).iter().map(|byte| format!("{byte:02x}")).collect();
    let written = concat!(
        "02100000000000000000000000000000000110000000000000000000000000000000020474657374010461636d",
        "6505626f6e757301310105636861696e00000000000000000000808082e288d2a306828082e288d2a306c08db7",
        "010000059a9999999999a93f9a9999999999a93f00000001035b315d0000000000000000",
    );
    assert_eq!(hex, written);
}
