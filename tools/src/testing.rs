//! What tests share: where the real models and data lie.

use std::path::PathBuf;

/// Returns `shared/NAME` beside the checkout: real models and data for tests.
///
/// None where it is missing, with a line on standard error that says so; where `CI=true`, that is a
/// failure.
///
/// # Panics
/// If it is missing and `CI` is `true`.
pub fn shared(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared")
        .join(name);
    if path.exists() {
        return Some(path);
    }
    let message = format!(
        "{} is missing: this test needs the real models and data",
        path.display()
    );
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
    eprintln!("NOT RUN: {message}");
    None
}
