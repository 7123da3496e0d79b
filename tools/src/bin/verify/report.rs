//! What each step came to, and the table at the end.

use crate::test_output::Counts;
use std::time::{Duration, Instant};

/// The end of a step.
pub struct Outcome {
    /// None when it passed, else why not.
    pub failure: Option<String>,
    /// What is worth a word in the table.
    pub note: String,
    /// The tests that it ran.
    pub tests: Counts,
}

impl Outcome {
    /// A step without tests.
    pub fn from_result(result: Result<String, String>) -> Outcome {
        let (note, failure) = match result {
            Ok(note) => (note, None),
            Err(failure) => (String::new(), Some(failure)),
        };
        Outcome {
            failure,
            note,
            tests: Counts::default(),
        }
    }
}

/// All steps so far.
pub struct Report {
    names: &'static [&'static str],
    start: Instant,
    step_start: Instant,
    done: Vec<(Outcome, Duration)>,
}

impl Report {
    /// A report on steps of these names, in this order.
    pub fn new(names: &'static [&'static str]) -> Report {
        let now = Instant::now();
        Report {
            names,
            start: now,
            step_start: now,
            done: Vec::new(),
        }
    }

    /// Announces a step.
    pub fn begin(&mut self, name: &str) {
        self.step_start = Instant::now();
        println!("\n[{}/{}] {name}", self.done.len() + 1, self.names.len());
    }

    /// Ends the step that began last.
    pub fn end(&mut self, outcome: Outcome) {
        let time = self.step_start.elapsed();
        let number = self.done.len() + 1;
        let (verdict, reason) = match &outcome.failure {
            None => ("ok", String::new()),
            Some(failure) => ("FAILED", format!(": {failure}")),
        };
        println!(
            "[{number}/{}] {verdict} after {:.1} s{reason}",
            self.names.len(),
            time.as_secs_f64()
        );
        self.done.push((outcome, time));
    }

    /// Whether a step failed.
    pub fn has_failure(&self) -> bool {
        self.done
            .iter()
            .any(|(outcome, _)| outcome.failure.is_some())
    }

    /// The table, then `N passed, M failed` as the very last line.
    pub fn print(&self) {
        println!();
        for (index, name) in self.names.iter().enumerate() {
            match self.done.get(index) {
                None => println!("{:>2}  {:<7} {:>8}  {name}", index + 1, "not run", ""),
                Some((outcome, time)) => {
                    let verdict = match outcome.failure {
                        None => "ok",
                        Some(_) => "FAILED",
                    };
                    let note = match outcome.note.is_empty() {
                        true => String::new(),
                        false => format!(": {}", outcome.note),
                    };
                    let seconds = time.as_secs_f64();
                    println!(
                        "{:>2}  {verdict:<7} {seconds:>6.1} s  {name}{note}",
                        index + 1
                    );
                }
            }
        }
        let seconds = self.start.elapsed().as_secs();
        println!("in {} min {} s", seconds / 60, seconds % 60);
        println!("{}", self.last_line());
    }

    fn last_line(&self) -> String {
        let mut passed = 0;
        let mut failed = 0;
        for (outcome, _) in &self.done {
            passed += outcome.tests.passed;
            failed += outcome.tests.failed;
            if outcome.failure.is_some() && outcome.tests.failed == 0 {
                failed += 1;
            }
        }
        format!("{passed} passed, {failed} failed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(failure: Option<&str>, passed: u64, failed: u64) -> Outcome {
        Outcome {
            failure: failure.map(str::to_owned),
            note: String::new(),
            tests: Counts {
                passed,
                failed,
                ..Counts::default()
            },
        }
    }

    #[test]
    fn the_last_line_sums_the_tests() {
        let mut report = Report::new(&["a", "b"]);
        report.end(outcome(None, 5, 0));
        report.end(outcome(None, 7, 0));
        assert!(!report.has_failure());
        assert_eq!(report.last_line(), "12 passed, 0 failed");
    }

    #[test]
    fn a_failed_step_always_shows_in_the_last_line() {
        let mut report = Report::new(&["a", "b", "c"]);
        report.end(outcome(Some("lint"), 0, 0));
        report.end(outcome(Some("tests"), 3, 2));
        assert!(report.has_failure());
        assert_eq!(report.last_line(), "3 passed, 3 failed");
    }
}
