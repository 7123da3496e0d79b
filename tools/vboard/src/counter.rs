//! A counter that runs at a rational fraction of the core clock, and says when it meets a value.

/// Counts up from zero to `period − 1` and again. Absolute counts never wrap: they tell how often a
/// value was met since time was last looked at.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    period: u64,
    num: u64,
    den: u64,
    running: bool,
    origin: u64,
    count: u64,
    seen: u64,
}

impl Counter {
    /// A stopped counter of this period, with `num` counts in `den` core cycles.
    pub fn new(period: u64, num: u64, den: u64) -> Self {
        Self {
            period,
            num,
            den,
            running: false,
            origin: 0,
            count: 0,
            seen: 0,
        }
    }

    fn absolute(&self, now: u64) -> u64 {
        if !self.running {
            return self.count;
        }
        let passed = u128::from(now.saturating_sub(self.origin));
        self.count + (passed * u128::from(self.num) / u128::from(self.den)) as u64
    }

    /// The value at a moment.
    pub fn value(&self, now: u64) -> u64 {
        self.absolute(now) % self.period
    }

    /// Sets the value.
    pub fn set(&mut self, now: u64, value: u64) {
        self.origin = now;
        self.count = value % self.period;
        self.seen = self.count;
    }

    /// Starts or stops.
    pub fn run(&mut self, now: u64, on: bool) {
        let value = self.value(now);
        self.set(now, value);
        self.running = on;
    }

    /// True if it counts.
    pub fn running(&self) -> bool {
        self.running
    }

    /// Changes the rate; the value stays.
    pub fn set_rate(&mut self, now: u64, num: u64, den: u64) {
        let value = self.value(now);
        self.set(now, value);
        (self.num, self.den) = (num, den);
    }

    /// Changes the period; a value past its end goes to zero.
    pub fn set_period(&mut self, now: u64, period: u64) {
        let value = self.value(now);
        self.period = period.max(1);
        self.set(now, if value < self.period { value } else { 0 });
    }

    /// Calls `met` with each index of `targets` whose value was met since the last call.
    pub fn advance(&mut self, now: u64, targets: &[u64], mut met: impl FnMut(usize)) {
        let to = self.absolute(now);
        for (i, target) in targets.iter().enumerate() {
            if self.next_count(*target).is_some_and(|c| c <= to) {
                met(i);
            }
        }
        self.seen = to;
    }

    /// The core cycle at which `target` is met next.
    pub fn next(&self, target: u64) -> Option<u64> {
        if !self.running {
            return None;
        }
        let counts = u128::from(self.next_count(target)? - self.count);
        let cycles = (counts * u128::from(self.den)).div_ceil(u128::from(self.num));
        Some(self.origin + cycles as u64)
    }

    /// The first absolute count after the one last seen that has this value.
    fn next_count(&self, target: u64) -> Option<u64> {
        if target >= self.period {
            return None;
        }
        let at = self.seen % self.period;
        let wait = (target + self.period - at - 1) % self.period + 1;
        Some(self.seen + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::Counter;

    #[test]
    fn meets_each_value_once_a_round() {
        let mut c = Counter::new(10, 1, 4);
        c.run(0, true);
        assert_eq!(c.next(3), Some(12));
        assert_eq!(c.next(0), Some(40));
        let mut met = Vec::new();
        c.advance(11, &[3], |i| met.push(i));
        assert!(met.is_empty());
        c.advance(12, &[3], |i| met.push(i));
        c.advance(13, &[3], |i| met.push(i));
        assert_eq!(met, [0]);
        assert_eq!(c.next(3), Some(52));
        assert_eq!(c.value(44), 1);
        assert_eq!(c.next(10), None, "a value it never has");
    }

    #[test]
    fn rates_that_do_not_divide_come_out_even() {
        let mut c = Counter::new(1 << 24, 32_768, 64_000_000);
        c.run(0, true);
        assert_eq!(c.value(64_000_000), 32_768);
        let at = c.next(100).expect("it runs");
        assert_eq!((c.value(at - 1), c.value(at)), (99, 100));
    }
}
