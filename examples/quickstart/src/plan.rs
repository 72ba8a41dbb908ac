//! Which rule meets which event at each run: fixed by the seed, whatever the threads do.

/// The order of the work.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Indices of rules, as often in a round as each rule's share.
    turns: Vec<usize>,
    /// Indices of events, shuffled when there is a seed.
    events: Vec<usize>,
}

/// One run to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) rule: usize,
    pub(crate) event: usize,
}

impl Plan {
    /// Rules take turns by their shares; events follow one another in the order of the table, or
    /// in the order of the seed.
    pub(crate) fn new(shares: &[usize], events: usize, seed: Option<u64>) -> Self {
        let mut order: Vec<usize> = (0..events).collect();
        if let Some(seed) = seed {
            shuffle(&mut order, seed);
        }
        Self { turns: turns(shares), events: order }
    }

    /// The run with this number, counted from 0.
    ///
    /// Where the round of the turns and the table share no divisor, as 20 and 1,707, every rule
    /// meets every event in time.
    pub(crate) fn step(&self, run: u64) -> Step {
        let at = |list: &[usize]| list[usize::try_from(run % list.len() as u64).unwrap_or(0)];
        Step { rule: at(&self.turns), event: at(&self.events) }
    }
}

/// Spreads the turns of each rule over the round: the rule that is furthest behind goes next.
fn turns(shares: &[usize]) -> Vec<usize> {
    let round: usize = shares.iter().sum();
    let mut taken = vec![0; shares.len()];
    let mut turns = Vec::with_capacity(round);
    for turn in 1..=round {
        let behind = |rule: &usize| shares[*rule] * turn - taken[*rule] * round;
        let open = (0..shares.len()).filter(|&rule| taken[rule] * round < shares[rule] * turn);
        let next = open.max_by_key(behind).unwrap_or(0);
        taken[next] += 1;
        turns.push(next);
    }
    turns
}

/// Fisher and Yates's shuffle.
fn shuffle(items: &mut [usize], seed: u64) {
    let mut state = seed;
    for last in (1..items.len()).rev() {
        let bound = last as u64 + 1;
        let other = usize::try_from(split_mix(&mut state) % bound).unwrap_or(last);
        items.swap(last, other);
    }
}

/// Sebastiano Vigna's SplitMix64: enough to put events in an order.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn steps(plan: &Plan, runs: u64) -> Vec<Step> {
        (0..runs).map(|run| plan.step(run)).collect()
    }

    #[test]
    fn each_rule_has_its_share_of_every_round() {
        let shares = [2, 6, 5, 3, 3, 1];
        let plan = Plan::new(&shares, 1_707, None);
        for (rule, share) in shares.into_iter().enumerate() {
            let of_rule = steps(&plan, 20).iter().filter(|step| step.rule == rule).count();
            assert_eq!(of_rule, share, "rule {rule}");
        }
    }

    #[test]
    fn every_rule_meets_every_event() {
        let plan = Plan::new(&[2, 1], 7, Some(3));
        let pairs: HashSet<_> =
            steps(&plan, 21).into_iter().map(|step| (step.rule, step.event)).collect();
        assert_eq!(pairs.len(), 14);
    }

    #[test]
    fn one_seed_is_one_order_and_another_seed_another() {
        let of_seed = |seed| steps(&Plan::new(&[1], 100, seed), 100);
        assert_eq!(of_seed(Some(7)), of_seed(Some(7)));
        assert_ne!(of_seed(Some(7)), of_seed(Some(8)));
        let in_order: Vec<_> = of_seed(None).iter().map(|step| step.event).collect();
        assert!(in_order.is_sorted());
        let mut shuffled: Vec<_> = of_seed(Some(7)).iter().map(|step| step.event).collect();
        shuffled.sort_unstable();
        assert_eq!(shuffled, in_order);
    }

    #[test]
    fn split_mix_gives_the_published_numbers() {
        let mut state = 1_234_567;
        assert_eq!(split_mix(&mut state), 6_457_827_717_110_365_317);
        assert_eq!(split_mix(&mut state), 3_203_168_211_198_807_973);
    }
}
