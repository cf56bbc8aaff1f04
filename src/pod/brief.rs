//! A pod as a table shows it. Decoding is most of the work of a listing, and most of a stored pod is
//! its containers' particulars and the manifest in its annotation, which no table shows.

use crate::kube::Pod;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is taken from `pod.json`; the rest is passed over unread.
#[derive(Deserialize)]
pub struct Brief {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    containers: Vec<Container>,
    init_containers: Option<Vec<Container>>,
    node_name: Option<String>,
    readiness_gates: Option<Vec<api::PodReadinessGate>>,
    restart_policy: Option<String>,
    scheduler_name: Option<String>,
    service_account_name: Option<String>,
    host_network: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    restart_policy: Option<String>,
}

impl Brief {
    /// The pod, as far as it is known.
    pub fn into_pod(self) -> Pod {
        let Self { metadata: meta, spec } = self;
        let metadata = ObjectMeta {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            labels: meta.labels,
            resource_version: meta.resource_version,
            creation_timestamp: meta.creation_timestamp,
            deletion_timestamp: meta.deletion_timestamp,
            deletion_grace_period_seconds: meta.deletion_grace_period_seconds,
            ..ObjectMeta::default()
        };
        let spec = api::PodSpec {
            containers: containers(spec.containers),
            init_containers: spec.init_containers.map(containers),
            node_name: spec.node_name,
            readiness_gates: spec.readiness_gates,
            restart_policy: spec.restart_policy,
            scheduler_name: spec.scheduler_name,
            service_account_name: spec.service_account_name,
            host_network: spec.host_network,
            ..api::PodSpec::default()
        };
        Pod { metadata, spec: Some(spec), status: None }
    }
}

fn containers(containers: Vec<Container>) -> Vec<api::Container> {
    let named = |Container { name, restart_policy }| api::Container {
        name,
        restart_policy,
        ..api::Container::default()
    };
    containers.into_iter().map(named).collect()
}
