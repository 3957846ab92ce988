//! Which outputs make up the rows of an `f32` matrix, and what stands where there is no value.

use larder_base::{Error, Result};

use super::plan::OnlinePlan;

/// The columns of a matrix and what stands for missing values.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    columns: Option<Vec<String>>,
    missing: f32,
}

impl TensorSpec {
    /// All outputs in the order of the service; NaN where there is no value.
    pub fn service_order() -> Self {
        Self {
            columns: None,
            missing: f32::NAN,
        }
    }

    /// These outputs in this order; NaN where there is no value.
    pub fn columns<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self {
            columns: Some(names.into_iter().map(Into::into).collect()),
            missing: f32::NAN,
        }
    }

    /// Sets what stands where there is no value.
    #[must_use]
    pub fn missing(mut self, value: f32) -> Self {
        self.missing = value;
        self
    }
}

/// A [`TensorSpec`] resolved against a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub(super) outputs: Vec<usize>,
    /// Defaults as numbers, by column.
    pub(super) defaults: Vec<Option<f32>>,
    pub(super) missing: f32,
}

impl Tensor {
    pub(super) fn new(plan: &OnlinePlan, spec: TensorSpec) -> Result<Self> {
        let bound = plan.inner.bound.load();
        let outputs: Vec<usize> = match &spec.columns {
            None => (0..bound.outputs.len()).collect(),
            Some(names) => names
                .iter()
                .map(|name| plan.output_index(name))
                .collect::<Result<_>>()?,
        };
        let other: Vec<String> = outputs
            .iter()
            .map(|index| &bound.outputs[*index])
            .filter(|output| !output.value_type.is_numeric())
            .map(|output| format!("{} ({})", output.name, output.value_type))
            .collect();
        if !other.is_empty() {
            return Err(
                Error::input(format!("these outputs are not numeric: {}", other.join(", ")))
                    .help("name the columns of the matrix with `TensorSpec::columns`"),
            );
        }
        let default = |index: &usize| {
            let output = &bound.outputs[*index];
            let value = output.default.as_ref()?;
            larder_base::row::cell_of(value, output.value_type, &mut Vec::new()).to_f32(output.value_type)
        };
        let defaults = outputs.iter().map(default).collect();
        Ok(Self {
            outputs,
            defaults,
            missing: spec.missing,
        })
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.outputs.len()
    }
}
