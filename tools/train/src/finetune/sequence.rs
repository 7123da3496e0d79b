//! Fine-tuning of a model with a decoder, on pairs.

use super::Finetune;
use crate::error::TrainError;
use crate::examples::Standard;
use crate::model::Model;
use crate::sequence::{SequenceData, SequenceToSequence, Settings};
use std::path::PathBuf;
use tailtune_tools::evaluation::sequence::Tokenizers;
use tailtune_tools::export::write_model;
use tailtune_tools::float_model::FloatModel;

impl Finetune {
    pub(super) fn sequence(&self, mut template: FloatModel) -> Result<(), TrainError> {
        self.check_decoder(&template)?;
        if let Some(name) = &self.name {
            template.name.clone_from(name);
        }
        let paths: Vec<PathBuf> = self.data.iter().map(|d| d.path.clone()).collect();
        let data = SequenceData::read(&paths, self.valid.as_deref(), self.hold_out, self.seed)?;
        let tokenizers = Tokenizers::read(&self.model)?;
        let plan = self.plan(data.pairs())?;
        let model = Model::new(template);
        let standard = Standard::identity(0);
        let (mut params, options) = self.params(&model, &standard);
        let settings = Settings {
            label_smoothing: plan.schedule.label_smoothing,
            options,
            batch: plan.schedule.batch,
            seed: self.seed,
        };
        let task = SequenceToSequence::new(&model, &data, &tokenizers, settings)?;
        eprintln!(
            "{}, {} of {} parameters move",
            task.said(),
            params.count(true),
            params.count(false)
        );
        let trainer = self.trainer(&model, &plan, &data.fingerprint());
        let outcome = trainer.train(&task, &mut params)?;
        let tuned = model.float(&params, &standard, options);
        write_model(&self.output, &tuned, &[])?;
        tokenizers.write(&self.output)?;
        println!(
            "{}: {} parameters, {:.1} minutes; training.svg shows the curve",
            self.output.display(),
            tuned.parameters(),
            outcome.seconds / 60.0
        );
        task.report(&tuned);
        Ok(())
    }

    /// What a model with a decoder does not take.
    fn check_decoder(&self, model: &FloatModel) -> Result<(), TrainError> {
        let options = [
            ("--new-head", self.new_head),
            ("--new-embedding", self.new_embedding),
            ("--activation", self.activation.is_some()),
            ("--teacher", self.teacher.is_some()),
        ];
        if let Some((option, _)) = options.iter().find(|(_, given)| *given) {
            let text = format!("{option}: not for a model with a decoder; it goes with an encoder");
            return Err(TrainError::Unfit(text));
        }
        match model.config.has_encoder() && model.config.input.frames().is_none() {
            true => Ok(()),
            false => Err(TrainError::Unfit(
                "the model reads no tokens: pairs are learned by a model of an encoder of tokens and a decoder".into(),
            )),
        }
    }
}
