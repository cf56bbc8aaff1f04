//! Text in, text out: the two command lines. Only here is anything printed.

pub mod output;
pub mod podctl;
pub mod report;
pub mod runp;
