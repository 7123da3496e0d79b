//! What a sentence transformer's directory says beside its Transformer (Reimers & Gurevych, arXiv
//! 1908.10084): modules.json, `1_Pooling/config.json` and sentence_bert_config.json.
//!
//! A `Normalize` module is left out: it changes a feature's length, not its direction.

use super::{Config, ImportError, PoolingChoice};
use serde::Deserialize;
use std::path::Path;

/// A module of modules.json.
#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
    path: String,
}

/// Returns how the directory pools; none where it says nothing.
pub(super) fn pooling(dir: &Path) -> Result<Option<PoolingChoice>, ImportError> {
    let Some(path) = module(dir)? else {
        return Ok(None);
    };
    let config = Config::read_file(&dir.join(path).join("config.json"))?;
    let on = |key: &str| -> Result<bool, ImportError> { Ok(config.has(key) && config.bool(key)?) };
    let others = [
        "pooling_mode_max_tokens",
        "pooling_mode_mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens",
        "pooling_mode_lasttoken",
    ];
    for key in others {
        if on(key)? {
            return Err(config.bad(key, "false: the runtime pools the mean or the first row"));
        }
    }
    let [mean, cls] = ["pooling_mode_mean_tokens", "pooling_mode_cls_token"];
    match (on(mean)?, on(cls)?) {
        (true, false) => Ok(Some(PoolingChoice::Mean)),
        (false, true) => Ok(Some(PoolingChoice::Cls)),
        (true, true) => Err(config.bad(cls, "false beside the mean: a feature is one row")),
        (false, false) => Err(config.bad(mean, "true, or pooling_mode_cls_token true")),
    }
}

/// Returns the folder of the pooling module, and refuses modules that the runtime does not have.
fn module(dir: &Path) -> Result<Option<String>, ImportError> {
    const USUAL: &str = "1_Pooling";
    if !dir.join("modules.json").exists() {
        let there = dir.join(USUAL).join("config.json").exists();
        return Ok(there.then(|| USUAL.to_owned()));
    }
    let config = Config::read_file(&dir.join("modules.json"))?;
    let modules: Vec<Module> = config.parse("", "a list of modules")?;
    let known = ["Transformer", "Pooling", "Normalize"];
    for (index, module) in modules.iter().enumerate() {
        let name = module.kind.rsplit('.').next().unwrap_or_default();
        if !known.contains(&name) {
            let expected = "a Transformer, a Pooling or a Normalize module";
            return Err(config.bad(&format!("{index}/type"), expected));
        }
    }
    let pooling = modules.into_iter().find(|m| m.kind.ends_with(".Pooling"));
    Ok(pooling.map(|m| m.path))
}

/// Returns the most tokens of a sentence, where the directory sets a limit of its own.
pub(super) fn max_len(dir: &Path) -> Result<Option<u16>, ImportError> {
    let path = dir.join("sentence_bert_config.json");
    if !path.exists() {
        return Ok(None);
    }
    let (config, key) = (Config::read_file(&path)?, "max_seq_length");
    match config.is_null(key) {
        true => Ok(None),
        false => config.u16(key).map(Some),
    }
}
