//! Allocations of a run that is not kept: none.

#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use crate::{
    hot::{self, Exported},
    report::{Aim, Report},
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

pub(crate) fn run(report: &mut Report) {
    const WARM_UP: u32 = 1_000;
    const RUNS: u32 = 100_000;
    let exported = Exported::new();
    let strategy = hot::strategy(&exported, hot::NEVER, false);
    let before_counting = ALLOCATIONS.with(Cell::get);
    drop(std::hint::black_box(vec![1_u8; 100]));
    assert!(ALLOCATIONS.with(Cell::get) > before_counting, "the counter counts");
    (0..WARM_UP).for_each(|_| hot::traced_ok(&strategy));
    let before = ALLOCATIONS.with(Cell::get);
    (0..RUNS).for_each(|_| hot::traced_ok(&strategy));
    let count = ALLOCATIONS.with(Cell::get) - before;
    let each = count as f64 / f64::from(RUNS);
    report.value("allocations_not_kept_20_nodes", each, None, Aim::AtMost(0.0));
}
