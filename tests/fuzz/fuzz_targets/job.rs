//! Any bytes as a job or an outcome: none, or one whose numbers can be used.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailtune_app::job::{Job, names};
use tailtune_app::outcome::Outcome;

fuzz_target!(|data: &[u8]| {
    if let Some(job) = Job::parse(data) {
        let _ = (job.sample_offset(0), job.sample_offset(u32::MAX));
    }
    let _ = Outcome::parse(data).map(|(_, tail)| tail.len());
    assert!(names(data).map(str::len).sum::<usize>() <= data.len());
});
