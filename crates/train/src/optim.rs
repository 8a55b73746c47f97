//! AdamW (Loshchilov and Hutter, arXiv 1711.05101) whose state can be saved.
//!
//! candle-nn's keeps its moments to itself, so a resumed run would start with empty ones and its loss
//! would jump.

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use skimlm_core::{Code, Error, Result};

/// Settings that do not change during a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Decay of the mean gradient.
    pub beta1: f64,
    /// Decay of the mean squared gradient.
    pub beta2: f64,
    /// Added to the root.
    pub eps: f64,
    /// Share of the learning rate by which matrices shrink; vectors do not.
    pub decay: f64,
    /// Gradients longer than this, all together, are shortened to it.
    pub clip: f64,
}

/// A variable with its moments.
#[derive(Debug)]
pub struct Slot {
    /// Name of the variable.
    pub name: String,
    /// The variable.
    pub var: Var,
    /// Mean gradient.
    pub first: Tensor,
    /// Mean squared gradient.
    pub second: Tensor,
}

/// The variables and where they are in their optimisation.
#[derive(Debug)]
pub struct Optimizer {
    settings: AdamW,
    /// One a variable.
    pub slots: Vec<Slot>,
    /// Updates done.
    pub steps: u64,
}

impl Optimizer {
    /// Empty moments.
    pub fn new(settings: AdamW, vars: Vec<(String, Var)>) -> Result<Self> {
        let slot = |(name, var): (String, Var)| {
            let zeros = || var.zeros_like();
            Ok(Slot { name, first: zeros()?, second: zeros()?, var })
        };
        Ok(Self { settings, slots: vars.into_iter().map(slot).collect::<Result<_>>()?, steps: 0 })
    }

    /// One update. Answers the gradient's length before it was shortened; `ERR_NUMERICS` if that is not a
    /// number, with the variables as they were.
    pub fn step(&mut self, grads: &GradStore, rate: f64) -> Result<f64> {
        let AdamW { beta1, beta2, eps, decay, clip } = self.settings;
        let mut square = 0f64;
        for slot in &self.slots {
            if let Some(grad) = grads.get(&slot.var) {
                square += f64::from(grad.sqr()?.sum_all()?.to_scalar::<f32>()?);
            }
        }
        let length = square.sqrt();
        if !length.is_finite() {
            return Err(Error::new(
                Code::Numerics,
                format!("the gradient is not a number after {} updates; lower the learning rate.", self.steps),
            )
            .with("step", self.steps));
        }
        self.steps += 1;
        let by = if length > clip { clip / length } else { 1.0 };
        let (unbias1, unbias2) = (1.0 - beta1.powi(self.steps as i32), 1.0 - beta2.powi(self.steps as i32));
        for slot in &mut self.slots {
            let Some(grad) = grads.get(&slot.var) else { continue };
            let grad = (grad * by)?;
            slot.first = ((&slot.first * beta1)? + (&grad * (1.0 - beta1))?)?;
            slot.second = ((&slot.second * beta2)? + (grad.sqr()? * (1.0 - beta2))?)?;
            let root = ((&slot.second / unbias2)?.sqrt()? + eps)?;
            let update = ((&slot.first * (rate / unbias1))? / root)?;
            let shrink = if slot.var.rank() > 1 { 1.0 - rate * decay } else { 1.0 };
            slot.var.set(&((slot.var.as_tensor() * shrink)? - update)?)?;
        }
        Ok(length)
    }
}

/// The learning rate: rises over `warm` steps, holds, and falls to 3 % over the last `fall` of `steps`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// At its height.
    pub peak: f64,
    /// Steps of the rise.
    pub warm: u64,
    /// Steps of the run.
    pub steps: u64,
    /// Share of the run over which it falls; 0: it holds.
    pub fall: f64,
}

impl Rate {
    /// At a step, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        let rise = ((step + 1) as f64 / self.warm.max(1) as f64).min(1.0);
        let left = 1.0 - step as f64 / self.steps.max(1) as f64;
        let fall = if left < self.fall { (left / self.fall).max(0.03) } else { 1.0 };
        self.peak * rise * fall
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    const SETTINGS: AdamW = AdamW { beta1: 0.9, beta2: 0.98, eps: 1e-8, decay: 0.0, clip: 1.0 };

    #[test]
    fn a_bowl_is_descended() {
        let var = Var::new(&[[3f32, -2.0]], &Device::Cpu).unwrap();
        let mut optimizer = Optimizer::new(SETTINGS, vec![("x".into(), var.clone())]).unwrap();
        for _ in 0..400 {
            let loss = var.sqr().unwrap().sum_all().unwrap();
            optimizer.step(&loss.backward().unwrap(), 0.05).unwrap();
        }
        assert!(var.to_vec2::<f32>().unwrap()[0].iter().all(|x| x.abs() < 0.05), "{var}");
    }

    #[test]
    fn what_is_no_number_changes_nothing() {
        let var = Var::new(&[[3f32]], &Device::Cpu).unwrap();
        let mut optimizer = Optimizer::new(SETTINGS, vec![("x".into(), var.clone())]).unwrap();
        let loss = (var.as_tensor() * f64::NAN).unwrap().sum_all().unwrap();
        assert_eq!(optimizer.step(&loss.backward().unwrap(), 0.1).unwrap_err().code, Code::Numerics);
        assert_eq!(var.to_vec2::<f32>().unwrap(), [[3.0]]);
    }

    #[test]
    fn the_rate_rises_holds_and_falls() {
        let rate = Rate { peak: 1.0, warm: 10, steps: 100, fall: 0.3 };
        assert!((rate.at(0) - 0.1).abs() < 1e-9 && rate.at(10) == 1.0 && rate.at(69) == 1.0);
        assert!((rate.at(85) - 0.5).abs() < 1e-9 && (rate.at(100) - 0.03).abs() < 1e-9);
    }
}
