//! Variants that take turns.

use std::time::Instant;

/// Something that is run again and again, and what it exported can be checked at the end.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) runs_per_window: u32,
    run: Box<dyn FnMut()>,
    /// Between windows, outside of what is measured, e.g. to let an exporter catch up.
    rest: Box<dyn FnMut()>,
    /// The runs that it exported.
    exported: Box<dyn FnMut() -> Option<u64>>,
    pub(crate) nanos: Vec<f64>,
}

impl Variant {
    pub(crate) fn new(
        name: &'static str,
        runs_per_window: u32,
        run: impl FnMut() + 'static,
        exported: impl FnMut() -> Option<u64> + 'static,
    ) -> Self {
        Self {
            name,
            runs_per_window,
            run: Box::new(run),
            rest: Box::new(|| {}),
            exported: Box::new(exported),
            nanos: Vec::new(),
        }
    }

    pub(crate) fn resting(mut self, rest: impl FnMut() + 'static) -> Self {
        self.rest = Box::new(rest);
        self
    }
}

/// Lets the variants take turns, and checks what each exported. One window more at first warms up.
pub(crate) fn take_turns(variants: &mut [Variant], rounds: usize) {
    for round in 0..=rounds {
        for variant in variants.iter_mut() {
            let before = Instant::now();
            (0..variant.runs_per_window).for_each(|_| (variant.run)());
            let nanos = before.elapsed().as_secs_f64() * 1e9 / f64::from(variant.runs_per_window);
            (variant.rest)();
            if round > 0 {
                variant.nanos.push(nanos);
            }
        }
    }
    for variant in variants {
        let made = u64::from(variant.runs_per_window) * (rounds as u64 + 1);
        if let Some(exported) = (variant.exported)() {
            assert_eq!(exported, made, "{}: exported and made", variant.name);
        }
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// A quantile of some values, of which there is one at least.
pub(crate) fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list of measurements"
    )]
    let place = ((sorted.len() - 1) as f64 * at).round() as usize;
    sorted[place]
}

/// The middle half of the ratios of neighbours.
pub(crate) fn spread(above: &[f64], below: &[f64]) -> [f64; 2] {
    let ratios: Vec<f64> = above.iter().zip(below).map(|(above, below)| above / below).collect();
    [quantile(&ratios, 0.25), quantile(&ratios, 0.75)]
}
