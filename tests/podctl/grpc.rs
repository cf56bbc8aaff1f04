//! gRPC probes against somebody else's server: Debian's python3-grpcio.

use super::instance::Instance;
use std::process::Command;

/// Answers by what stands in a file: SERVING, or not; of other services it knows nothing.
const SERVER: &str = r#"
import grpc, sys
from concurrent import futures

def check(request, context):
    if request != b"\n\x03web":
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return b"\x08\x01" if open("/data/state").read() == "up" else b"\x08\x02"

class Health(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(check)

server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Health()])
server.add_insecure_port("0.0.0.0:5000")
server.start()
server.wait_for_termination()
"#;

#[test]
fn a_real_server_is_asked_for_its_health() {
    let Some(instance) = Instance::new("grpc") else { return };
    let grpc = Command::new("python3").args(["-c", "import grpc"]).output();
    if !grpc.is_ok_and(|done| done.status.success()) {
        return eprintln!("SKIP a_real_server_is_asked_for_its_health: no python3-grpcio");
    }
    let dir = instance.path("data");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("server.py"), SERVER).unwrap();
    std::fs::write(dir.join("state"), "up").unwrap();
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: grpc}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: host
    command: [python3, /data/server.py]
    startupProbe: {grpc: {port: 5000, service: web}, periodSeconds: 1, failureThreshold: 60}
    readinessProbe:
      {grpc: {port: 5000, service: SERVICE}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 5}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, hostPath: {path: DIR}}]
"#;
    let manifest = manifest.replace("DIR", dir.to_str().unwrap());
    let ready = |wanted: bool| {
        instance.wait_for("grpc", |status| status["containerStatuses"][0]["ready"] == wanted);
    };
    let told = |story: &str| instance.wait_told("grpc", story);
    instance.apply(&manifest.replace("SERVICE", "web"));
    ready(true);
    std::fs::write(dir.join("state"), "down").unwrap();
    ready(false);
    told("Readiness probe failed: service unhealthy (responded with \\\"NOT_SERVING\\\")");
    std::fs::write(dir.join("state"), "up").unwrap();
    ready(true);
    instance.delete("grpc");
    instance.apply(&manifest.replace("SERVICE", "other"));
    told(
        "Readiness probe failed: error: health rpc probe failed: rpc error: code = NotFound desc = unknown service",
    );
    instance.delete("grpc");
    instance.assert_nothing_left();
}
