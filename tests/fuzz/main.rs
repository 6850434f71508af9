//! The fuzz targets on generated inputs: no panic, no hang, no great memory (bigger with `AFTERPLAY_TEST_SCALE`).

mod inputs;
mod targets;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// The most that one input may take up at a time.
const MEMORY: usize = 8 << 20;
/// The longest that one may take, by the processor's clock, which other tests do not push on.
const TIME: Duration = Duration::from_millis(100);

/// Counts what each thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that is ending has no counters any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

fn size(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

// SAFETY: everything is left to the system's allocator; beside it only cells without destructors are written.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout.size()));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-size(layout.size()));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Processor time of this thread.
fn spent() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
}

#[derive(Default)]
struct Worst {
    memory: isize,
    time: Duration,
    inputs: u64,
}

impl Worst {
    fn run(&mut self, target: fn(&[u8]), input: &[u8]) -> Result<(), String> {
        let before = HELD.get();
        MOST.set(before);
        let begun = spent();
        target(input);
        let (took, memory) = (spent() - begun, MOST.get() - before);
        self.inputs += 1;
        self.memory = self.memory.max(memory);
        self.time = self.time.max(took);
        if memory > size(MEMORY) {
            return Err(format!("{} took {memory} bytes of memory", told(input)));
        }
        // A build without optimisation is many times slower than what is shipped.
        if took > TIME * if cfg!(debug_assertions) { 10 } else { 1 } {
            return Err(format!("{} took {took:?}", told(input)));
        }
        Ok(())
    }
}

fn told(input: &[u8]) -> String {
    let start = &input[..input.len().min(80)];
    format!("an input of {} bytes that begins with {:?}", input.len(), String::from_utf8_lossy(start))
}

fn fuzz(name: &str) {
    let scale =
        std::env::var("AFTERPLAY_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1_u32);
    let target = targets::TARGETS.iter().find(|(known, _)| *known == name).unwrap().1;
    let mut worst = Worst::default();
    let problems: Vec<String> =
        inputs::known(name).iter().filter_map(|input| worst.run(target, input).err()).collect();
    assert!(problems.is_empty(), "{name}: {problems:#?}");
    let config = Config { cases: 300 * scale, failure_persistence: None, ..Config::default() };
    let worst = std::cell::RefCell::new(worst);
    TestRunner::new(config)
        .run(&inputs::near(name), |input| worst.borrow_mut().run(target, &input).map_err(TestCaseError::fail))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let worst = worst.into_inner();
    eprintln!(
        "figure: {name}: {} inputs, at most {} KiB and {:?}",
        worst.inputs,
        worst.memory >> 10,
        worst.time
    );
}

macro_rules! fuzzed {
    ($($test:ident = $name:literal),+ $(,)?) => {$(
        #[test]
        fn $test() {
            fuzz($name);
        }
    )+};
}

fuzzed! {
    request_decoding = "request",
    event_to_model = "event",
    row_to_event = "row",
    payload = "payload",
    configuration = "configuration",
    answer_classifier = "answer",
    retry_after = "retry_after",
    time_resolver = "times",
}

#[test]
fn the_limits_are_noticed() {
    let mut worst = Worst::default();
    let greedy: fn(&[u8]) = |_| drop(std::hint::black_box(vec![1_u8; 9 << 20]));
    assert!(worst.run(greedy, b"").unwrap_err().contains("memory"));
    let slow: fn(&[u8]) = |_| {
        let begun = spent();
        while spent() - begun < TIME * 11 {
            std::hint::spin_loop();
        }
    };
    assert!(worst.run(slow, b"").is_err());
    assert!(worst.run(|_| (), b"").is_ok());
}
