use super::*;

fn histogram(bounds: &[f64], counts: &[u64], min: f64, max: f64) -> Histogram {
    Histogram {
        bounds: bounds.to_vec(),
        counts: counts.to_vec(),
        count: counts.iter().sum(),
        min: Some(min),
        max: Some(max),
        ..Histogram::default()
    }
}

#[test]
fn a_quantile_lies_inside_its_bucket_in_proportion_to_its_rank() {
    let even = histogram(&[1.0, 2.0, 4.0], &[0, 10, 10, 0], 1.0, 4.0);
    assert_eq!(even.quantile(0.25), Some(1.5));
    assert_eq!(even.quantile(0.5), Some(2.0));
    assert_eq!(even.quantile(0.75), Some(3.0));
    assert_eq!(even.quantile(1.0), Some(4.0));
}

#[test]
fn a_quantile_is_never_outside_what_was_measured() {
    let one = histogram(&[1.0, 2.0], &[0, 1, 0], 1.25, 1.25);
    assert_eq!(one.quantile(0.01), Some(1.25));
    assert_eq!(one.quantile(0.99), Some(1.25));
    let above_every_bound = histogram(&[1.0], &[0, 2], 3.0, 9.0);
    assert_eq!(above_every_bound.quantile(1.0), Some(9.0));
    assert_eq!(above_every_bound.quantile(0.0), Some(3.0));
}

#[test]
fn a_quantile_of_nothing_or_outside_the_unit_interval_does_not_exist() {
    assert_eq!(Histogram::default().quantile(0.5), None);
    let some = histogram(&[1.0], &[1, 0], 0.5, 0.5);
    for quantile in [-0.1, 1.1, f64::NAN] {
        assert_eq!(some.quantile(quantile), None);
    }
}
