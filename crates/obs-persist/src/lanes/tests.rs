use obs_core::{Class, DropReason};
use proptest::prelude::*;

use super::*;

const ONE: usize = 10;

fn lanes(ok: usize, reserve: usize) -> Lanes<u32> {
    let limit = |records| Limit { records, bytes: records * ONE };
    Lanes::new(Limits { ok: limit(ok), reserve: limit(reserve) })
}

fn reason(result: Result<(), Refused<u32>>) -> Option<DropReason> {
    result.err().map(|refused| refused.reason)
}

fn drain(lanes: &mut Lanes<u32>) -> Vec<u32> {
    std::iter::from_fn(|| lanes.take(usize::MAX)).map(|item| item.value).collect()
}

#[test]
fn the_ok_lane_takes_its_limit_and_refuses_the_newest() {
    let mut lanes = lanes(3, 2);
    for at in 0..3 {
        assert_eq!(reason(lanes.offer(at, Class::Ok, ONE)), None, "{at}");
    }
    assert_eq!(
        lanes.offer(3, Class::Ok, 1),
        Err(Refused { value: 3, reason: DropReason::QueueFull })
    );
    assert_eq!(drain(&mut lanes), [0, 1, 2]);
}

#[test]
fn a_flood_of_ok_records_never_costs_an_error_its_reserve() {
    let mut lanes = lanes(3, 2);
    for at in 0..10 {
        let _ = lanes.offer(at, Class::Ok, ONE);
    }
    assert_eq!(reason(lanes.offer(100, Class::Error, ONE)), None);
    assert_eq!(reason(lanes.offer(101, Class::Error, ONE)), None);
    assert_eq!(reason(lanes.offer(102, Class::Error, ONE)), Some(DropReason::QueueFull));
}

#[test]
fn errors_use_their_reserve_first_and_then_free_room_of_the_ok_lane() {
    let mut lanes = lanes(3, 2);
    for at in 0..5 {
        assert_eq!(reason(lanes.offer(at, Class::Error, ONE)), None, "{at}");
    }
    assert_eq!(reason(lanes.offer(5, Class::Error, 1)), Some(DropReason::QueueFull));
    assert_eq!(reason(lanes.offer(6, Class::Ok, 1)), Some(DropReason::QueueFull));
    // The first two left the reserve: ok records get nothing of it.
    for _ in 0..2 {
        let item = lanes.take(usize::MAX).unwrap();
        lanes.release(item.place);
    }
    assert_eq!(reason(lanes.offer(7, Class::Ok, 1)), Some(DropReason::QueueFull));
    assert_eq!(reason(lanes.offer(8, Class::Error, ONE)), None);
}

#[test]
fn bytes_are_a_limit_of_their_own() {
    let mut lanes = Lanes::new(Limits {
        ok: Limit { records: 100, bytes: 20 },
        reserve: Limit { records: 100, bytes: 5 },
    });
    assert_eq!(reason(lanes.offer(0, Class::Ok, 20)), None);
    assert_eq!(reason(lanes.offer(1, Class::Ok, 1)), Some(DropReason::QueueFull));
    assert_eq!(reason(lanes.offer(2, Class::Error, 5)), None);
    assert_eq!(reason(lanes.offer(3, Class::Error, 1)), Some(DropReason::QueueFull));
}

#[test]
fn a_record_larger_than_its_lane_is_too_large_even_when_the_lane_is_empty() {
    let mut lanes = lanes(3, 2);
    assert_eq!(reason(lanes.offer(0, Class::Ok, 3 * ONE)), None);
    assert_eq!(reason(lanes.offer(1, Class::Ok, 3 * ONE + 1)), Some(DropReason::TooLarge));
    assert_eq!(reason(lanes.offer(2, Class::Error, 3 * ONE + 1)), Some(DropReason::TooLarge));
    // Larger than the reserve, but not than the ok lane, which is full for now.
    assert_eq!(reason(lanes.offer(3, Class::Error, 3 * ONE)), Some(DropReason::QueueFull));
}

#[test]
fn a_place_is_free_when_its_record_is_settled_not_when_it_is_taken() {
    let mut lanes = lanes(1, 1);
    assert_eq!(reason(lanes.offer(0, Class::Ok, ONE)), None);
    let item = lanes.take(usize::MAX).unwrap();
    assert_eq!(reason(lanes.offer(1, Class::Ok, ONE)), Some(DropReason::QueueFull));
    assert_eq!(lanes.unsettled(), 1);
    lanes.release(item.place);
    assert_eq!(reason(lanes.offer(2, Class::Ok, ONE)), None);
}

#[test]
fn after_close_everything_is_refused_and_what_waits_stays() {
    let mut lanes = lanes(2, 2);
    assert_eq!(reason(lanes.offer(0, Class::Ok, ONE)), None);
    lanes.close();
    assert_eq!(reason(lanes.offer(1, Class::Ok, ONE)), Some(DropReason::Closed));
    assert_eq!(reason(lanes.offer(2, Class::Error, usize::MAX)), Some(DropReason::Closed));
    assert_eq!(drain(&mut lanes), [0]);
}

#[test]
fn errors_go_first_but_every_fifth_record_is_an_ok_one() {
    let mut lanes = lanes(10, 10);
    for at in 0..10 {
        let _ = lanes.offer(at, Class::Ok, ONE);
        let _ = lanes.offer(100 + at, Class::Error, ONE);
    }
    let order = drain(&mut lanes);
    assert_eq!(order[..10], [100, 101, 102, 103, 0, 104, 105, 106, 107, 1]);
    assert_eq!(order[10..], [108, 109, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn large_errors_that_fill_every_batch_do_not_starve_ok_records() {
    let mut lanes = lanes(10, 10);
    for at in 0..10 {
        let _ = lanes.offer(100 + at, Class::Error, ONE);
    }
    let _ = lanes.offer(0, Class::Ok, ONE);
    // Batches with room for one record each.
    let mut batches = Vec::new();
    while let Some(item) = lanes.take(ONE) {
        assert!(lanes.waiting().records == 0 || lanes.take(0).is_none());
        batches.push(item.value);
    }
    assert_eq!(batches[4], 0);
}

#[test]
fn a_lane_is_roomy_up_to_half_of_its_records_and_of_its_bytes() {
    let mut lanes = Lanes::new(Limits {
        ok: Limit { records: 4, bytes: 100 },
        reserve: Limit { records: 1, bytes: 100 },
    });
    for at in 0..2 {
        assert!(lanes.has_room());
        let _ = lanes.offer(at, Class::Ok, 25);
    }
    assert!(lanes.has_room());
    let _ = lanes.offer(2, Class::Ok, 1);
    assert!(!lanes.has_room());
    let first = lanes.take(usize::MAX).unwrap();
    lanes.release(first.place);
    assert!(lanes.has_room(), "two of four records, 26 of 100 bytes");
    let _ = lanes.offer(3, Class::Error, 90);
    assert!(lanes.has_room(), "the reserve is no part of it");
}

#[derive(Clone, Debug)]
enum Act {
    Offer(Class, usize),
    Take(usize),
    Settle,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (any::<bool>(), 0..60_usize)
            .prop_map(|(error, bytes)| Act::Offer(if error { Class::Error } else { Class::Ok }, bytes)),
        2 => (0..60_usize).prop_map(Act::Take),
        2 => Just(Act::Settle),
    ]
}

proptest! {
    /// Whatever happens: no limit is exceeded, nothing reallocates, no error is refused while the
    /// reserve has room, nothing is lost between offer and settle, and numbers rise in each lane.
    #[test]
    fn no_order_of_events_breaks_a_limit(
        ok in 1..6_usize, reserve in 1..6_usize, acts in prop::collection::vec(act(), 0..200)
    ) {
        let limits = Limits {
            ok: Limit { records: ok, bytes: 80 },
            reserve: Limit { records: reserve, bytes: 50 },
        };
        let mut lanes = Lanes::new(limits);
        let capacity = (lanes.ok.capacity(), lanes.error.capacity());
        let (mut accepted, mut settled, mut taken) = (0, 0, Vec::new());
        for act in acts {
            match act {
                Act::Offer(class, bytes) => {
                    let fits_reserve = lanes.reserve.fits(bytes);
                    let result = lanes.offer((), class, bytes);
                    if class == Class::Error && fits_reserve {
                        prop_assert!(result.is_ok());
                    }
                    accepted += usize::from(result.is_ok());
                }
                Act::Take(bytes_max) => if let Some(item) = lanes.take(bytes_max) {
                    prop_assert!(item.place.bytes <= bytes_max);
                    taken.push(item.place);
                },
                Act::Settle => if let Some(place) = taken.pop() {
                    lanes.release(place);
                    settled += 1;
                },
            }
            prop_assert!(lanes.ok_room.held.records <= ok && lanes.ok_room.held.bytes <= 80);
            prop_assert!(lanes.reserve.held.records <= reserve && lanes.reserve.held.bytes <= 50);
            prop_assert_eq!(lanes.unsettled(), accepted - settled);
            prop_assert_eq!(lanes.waiting().records + taken.len(), lanes.unsettled());
            prop_assert_eq!((lanes.ok.capacity(), lanes.error.capacity()), capacity);
            let ascending = |queue: &VecDeque<Item<()>>| queue.iter().map(|item| item.place.number).is_sorted();
            prop_assert!(ascending(&lanes.ok) && ascending(&lanes.error));
        }
    }
}

#[test]
fn a_lane_that_was_emptied_begins_where_it_did_before() {
    let mut lanes = lanes(3, 2);
    let mut first_places = Vec::new();
    for _ in 0..3 {
        for class in [Class::Ok, Class::Error] {
            lanes.offer(1, class, 1).unwrap();
            first_places.push(lanes.queue(class).as_slices().0.as_ptr());
            let item = lanes.take(usize::MAX).unwrap();
            lanes.release(item.place);
        }
    }
    let (first, again) = first_places.split_at(2);
    assert!(again.chunks(2).all(|places| places == first), "{first_places:?}");
}
