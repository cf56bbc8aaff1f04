//! `podctl create configmap NAME`.

use super::super::write::{Sent, the_name};
use super::super::{Call, Outcome};
use super::sources::{Sources, hash};
use super::{Saved, generated};
use crate::kube::Object;
use clap::Args;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

/// Flags of `create configmap`.
#[derive(Args)]
pub struct Flags {
    /// The config map's name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    sent: Sent,
    #[command(flatten)]
    saved: Saved,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let mut name = the_name("create configmap", &flags.names)?;
    let mut map = ConfigMap::default();
    for (key, value) in flags.sources.read("ConfigMap", &name)? {
        match String::from_utf8(value) {
            Ok(text) => map.data.get_or_insert_default().insert(key, text).map(drop),
            Err(error) => {
                let binary = map.binary_data.get_or_insert_default();
                binary.insert(key, ByteString(error.into_bytes())).map(drop)
            }
        };
    }
    if flags.sources.append_hash {
        let none = std::collections::BTreeMap::new();
        let data = map.data.as_ref().unwrap_or(&none);
        let mut hashed = json!({"kind": "ConfigMap", "name": name, "data": data});
        if let Some(binary) = &map.binary_data {
            hashed["binaryData"] = json!(binary);
        }
        name = format!("{name}-{}", hash(&hashed));
    }
    map.metadata.name = Some(name);
    generated(call, Object::ConfigMap(Box::new(map)), &flags.saved, &flags.sent)
}
