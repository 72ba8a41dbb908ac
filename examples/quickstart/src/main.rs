//! A real rules engine on real earthquakes, watched by obs.

fn main() {}
