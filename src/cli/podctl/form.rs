//! How objects are printed: the flags of kubectl's printers.

use super::flags::parse_bool;
use crate::cli::output::Format;
use crate::error::Result;
use clap::Args;

/// `-o` and what goes with it.
#[derive(Args)]
pub struct Form {
    /// Output format: wide, yaml, json, name, jsonpath=…, jsonpath-file=…, custom-columns=…,
    /// custom-columns-file=…
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<String>,
    /// Template, or its file, of -o jsonpath and jsonpath-file
    #[arg(long, value_name = "TEMPLATE")]
    template: Option<String>,
    /// A field that an object does not have is no error in a template
    #[arg(long, value_parser = parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "true", hide_default_value = true)]
    allow_missing_template_keys: bool,
    /// Accepted for kubectl's sake: there are none
    #[arg(long, hide = true)]
    show_managed_fields: bool,
}

impl Form {
    /// The format that is asked for.
    pub fn format(&self) -> Result<Format> {
        let format = Format::with_template(self.output.as_deref(), self.template.as_deref())?;
        Ok(if self.allow_missing_template_keys { format } else { format.strict() })
    }
}
