//! Variants that take turns.

use std::{hint::black_box, time::Instant};

/// Something that is run again and again, and what it exported can be checked at the end.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) runs_per_window: u32,
    /// Instances, whose windows take turns. What costs a few nanoseconds costs a few more where its memory lies badly, and
    /// where it lies is drawn anew for each instance.
    runs: Vec<Box<dyn FnMut()>>,
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
            runs: vec![Box::new(run)],
            rest: Box::new(|| {}),
            exported: Box::new(exported),
            nanos: Vec::new(),
        }
    }

    /// Several instances of one variant, each as another.
    pub(crate) fn of_instances(instances: Vec<Self>) -> Self {
        let mut instances = instances.into_iter();
        let first = instances.next().unwrap();
        instances.fold(first, |mut all, mut one| {
            all.runs.append(&mut one.runs);
            let mut before = all.exported;
            all.exported = Box::new(move || Some(before()? + (one.exported)()?));
            all
        })
    }

    pub(crate) fn resting(mut self, rest: impl FnMut() + 'static) -> Self {
        self.rest = Box::new(rest);
        self
    }

    fn window(&mut self, instance: usize) {
        let run = &mut self.runs[instance];
        tidy_heap();
        let before = Instant::now();
        (0..self.runs_per_window).for_each(|_| run());
        let nanos = before.elapsed().as_secs_f64() * 1e9 / f64::from(self.runs_per_window);
        (self.rest)();
        self.nanos.push(nanos);
    }
}

/// Lets the allocator put together the small pieces that other variants have freed, on whatever thread. It does so when
/// somebody asks for more than a kilobyte: the window that does so first would pay for all of them, 4 us a run.
fn tidy_heap() {
    const MORE_THAN_SMALL: usize = 64 << 10;
    black_box(Vec::<u8>::with_capacity(MORE_THAN_SMALL));
}

/// Lets the variants take turns, and checks what each exported. One window of each instance more at first warms up.
pub(crate) fn take_turns(variants: &mut [Variant], rounds: usize) {
    for variant in variants.iter_mut() {
        (0..variant.runs.len()).for_each(|instance| variant.window(instance));
        variant.nanos.clear();
    }
    for round in 0..rounds {
        variants.iter_mut().for_each(|variant| variant.window(round % variant.runs.len()));
    }
    for variant in variants {
        let windows = rounds + variant.runs.len();
        let made = u64::from(variant.runs_per_window) * windows as u64;
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
