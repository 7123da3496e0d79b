//! What `cargo test` printed: how many tests passed, failed and were ignored, and why.

/// Tests, summed over all test binaries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were not run.
    pub ignored: u64,
}

/// Reads the lines of `cargo test` as they come.
#[derive(Debug, Default)]
pub struct TestOutput {
    /// The sums so far.
    pub counts: Counts,
    /// Ignored tests that do not say what they need.
    pub without_reason: Vec<String>,
}

impl TestOutput {
    /// Takes one line in.
    pub fn line(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            for part in result.split([';', '.']) {
                let mut words = part.split_whitespace();
                let (Some(number), Some(what)) = (words.next(), words.next()) else {
                    continue;
                };
                let Ok(number) = number.parse::<u64>() else {
                    continue;
                };
                match what {
                    "passed" => self.counts.passed += number,
                    "failed" => self.counts.failed += number,
                    "ignored" => self.counts.ignored += number,
                    _ => {}
                }
            }
        } else if let Some((name, verdict)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
            && let Some(reason) = verdict.strip_prefix("ignored")
            && !reason.contains("needs ")
        {
            self.without_reason.push(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> TestOutput {
        let mut output = TestOutput::default();
        text.lines().for_each(|line| output.line(line));
        output
    }

    #[test]
    fn results_of_several_binaries_add_up() {
        let output = read(
            "running 3 tests\ntest a ... ok\ntest b ... ignored, needs qemu-system-arm\n\
             test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.10s\n\
             test c ... FAILED\n\
             test result: FAILED. 39 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 12.34s\n",
        );
        let counts = Counts {
            passed: 41,
            failed: 1,
            ignored: 1,
        };
        assert_eq!(output.counts, counts);
        assert!(output.without_reason.is_empty());
    }

    #[test]
    fn a_test_ignored_without_a_need_is_named() {
        let output = read(
            "test slow ... ignored\ntest flaky ... ignored, sometimes fails\n\
             test src/lib.rs - encoder (line 3) ... ignored\ntest x ... ignored, needs a target\n",
        );
        assert_eq!(
            output.without_reason,
            ["slow", "flaky", "src/lib.rs - encoder (line 3)"]
        );
    }

    #[test]
    fn what_a_test_prints_does_not_count() {
        let output = read("5 passed; 3 failed\nrunning 2 tests\ntest result\n");
        assert_eq!(output.counts, Counts::default());
    }
}
