//! Who may pull, and how a registry is reached: credentials, tokens, certificates, proxies, names,
//! mirrors.

use crate::build::{Scene, sh, skip};
use crate::proxy::{Fault, Proxy};
use crate::registry::{Registry, Setup, assert_app, pull_anonymously, pull_with};
use crate::socks::Socks;
use runp::image::registry::Keyring;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// `user:secret` in base64.
const AUTH: &str = "dXNlcjpzZWNyZXQ=";

/// A registry that wants `user:secret`, with the app in it.
fn guarded() -> Registry {
    let users = sh("htpasswd -Bbn user secret", &[]);
    let registry = Registry::with(&Setup { htpasswd: Some(users), tls: false });
    registry.push_app("app:1", "--dest-creds user:secret");
    registry
}

fn skip_without_tools() -> bool {
    // htpasswd has no --version.
    skip(&["skopeo", "docker-registry"])
        || Command::new("htpasswd").output().is_err() && {
            println!("SKIP: htpasswd is not installed");
            true
        }
}

/// `podctl pull NAME` in a mount namespace of its own, after `setup`, a shell script.
fn podctl(dir: &Path, name: &str, env: &[(&str, &str)], setup: &str) -> Output {
    let script = format!("{setup}\nexec \"$0\" pull -q \"$1\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", &script, env!("CARGO_BIN_EXE_podctl"), name]);
    command.current_dir(dir).env_clear().env("PATH", std::env::var("PATH").unwrap());
    command.env("RUNP_ROOT", dir.join("root")).env("HOME", dir);
    command.envs(env.iter().copied()).output().unwrap()
}

#[track_caller]
fn pulls(output: &Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(output.stdout.starts_with(b"sha256:"));
}

#[track_caller]
fn fails(output: &Output, why: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains(why), "{errors}\nexpected {why}");
}

#[test]
fn names_and_passwords_of_every_origin() {
    if skip_without_tools() {
        return;
    }
    let registry = guarded();
    let host = format!("127.0.0.1:{}", registry.port);
    let name = format!("{host}/app:1");
    let scene = Scene::new();
    let none = pull_anonymously(&scene, &name).err().unwrap().error.to_string();
    assert!(
        none.ends_with("the registry wants name and password, and there are none for it"),
        "{none}"
    );
    let secret = |auth: &str| format!(r#"{{"auths":{{"{host}":{{"auth":"{auth}"}}}}}}"#);
    let mut wrong = Keyring::default();
    wrong.add_dockerconfigjson(secret("dXNlcjp3cm9uZw==").as_bytes()).unwrap();
    let error = pull_with(&scene, &name, &wrong).err().unwrap().error.to_string();
    assert!(
        error.contains("pull access denied, repository does not exist or may require"),
        "{error}"
    );
    assert!(!error.contains("wrong"), "{error}");
    // One that is no good does not hide the next.
    wrong
        .add_dockercfg(format!(r#"{{"http://{host}/v1/":{{"auth":"{AUTH}"}}}}"#).as_bytes())
        .unwrap();
    assert_app(&scene, &pull_with(&scene, &name, &wrong).unwrap());

    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let again = || {
        if dir.join("root").exists() {
            fs::remove_dir_all(dir.join("root")).unwrap();
        }
    };
    fails(&podctl(dir, &name, &[], ""), "wants name and password");
    fs::create_dir(dir.join(".docker")).unwrap();
    fs::write(dir.join(".docker/config.json"), secret(AUTH)).unwrap();
    pulls(&podctl(dir, &name, &[], ""));
    again();
    // A credential helper, which also has to be asked about the right registry.
    let helper = format!(
        "#!/bin/sh\nread -r host\n[ \"$1 $host\" = \"get {host}\" ] || exit 1\n\
         echo '{{\"ServerURL\":\"\",\"Username\":\"user\",\"Secret\":\"secret\"}}'\n"
    );
    fs::create_dir(dir.join("bin")).unwrap();
    fs::write(dir.join("bin/docker-credential-test"), helper).unwrap();
    sh("chmod +x \"$1\"/bin/*", &[dir]);
    let config = format!(r#"{{"credHelpers":{{"{host}":"test"}}}}"#);
    fs::write(dir.join(".docker/config.json"), config).unwrap();
    let path = format!("{}/bin:{}", dir.display(), std::env::var("PATH").unwrap());
    pulls(&podctl(dir, &name, &[("PATH", &path)], ""));
    again();
    fails(&podctl(dir, &name, &[], ""), "ask the credential helper docker-credential-test about");
    let auth = dir.join("auth.json").display().to_string();
    fs::write(&auth, secret(AUTH)).unwrap();
    pulls(&podctl(dir, &name, &[("REGISTRY_AUTH_FILE", &auth)], ""));
}

#[test]
fn tokens_are_fetched_with_and_without_a_name() {
    if skip(&["skopeo", "docker-registry"]) {
        return;
    }
    let registry = Registry::with_app();
    for (credentials, wanted, query) in [
        (None, "", "service=reg&scope=repository%3Aapp%3Apull"),
        (Some(AUTH), "Basic dXNlcjpzZWNyZXQ=", "account=user"),
    ] {
        let proxy = Proxy::before(registry.port);
        let host = format!("127.0.0.1:{}", proxy.port);
        let token = |header: &str| Fault::Challenge {
            wanted: "Bearer t0ken".into(),
            header: header.to_owned(),
        };
        let header = format!(
            "Bearer realm=\"http://{host}/token\",service=\"reg\",scope=\"repository:app:pull\""
        );
        proxy.fault("/v2/", 99, token(&header));
        if !wanted.is_empty() {
            let wanted = wanted.to_owned();
            let header = "Basic realm=\"tokens\"".to_owned();
            proxy.fault("/token", 9, Fault::Challenge { wanted, header });
        }
        let answer = r#"{"token":"t0ken","expires_in":60}"#.to_owned();
        proxy.fault("/token", 9, Fault::Answer("200 OK", String::new(), answer));
        let scene = Scene::new();
        let name = format!("{host}/app:1");
        let mut keyring = Keyring::default();
        if let Some(auth) = credentials {
            let json = format!(r#"{{"auths":{{"{host}":{{"auth":"{auth}"}}}}}}"#);
            keyring.add_dockerconfigjson(json.as_bytes()).unwrap();
        }
        assert_app(&scene, &pull_with(&scene, &name, &keyring).unwrap());
        let asked = proxy.seen("/token");
        assert_eq!(asked.len(), 1, "one token serves the whole pull: {asked:?}");
        assert!(asked[0].line.contains(query), "{asked:?}");
    }
}

#[test]
fn certificates_of_the_machine_and_of_the_registry() {
    if skip_without_tools() {
        return;
    }
    let registry = Registry::with(&Setup { htpasswd: None, tls: true });
    registry.push_app("app:1", "");
    let dir = tempfile::tempdir().unwrap();
    let name = format!("127.0.0.1:{}/app:1", registry.port);
    let ca = registry.dir.path().join("ca.crt").display().to_string();
    let unknown = "x509: certificate signed by unknown authority";
    fails(&podctl(dir.path(), &name, &[], ""), unknown);
    for etc in ["/etc/docker", "/etc/containers"] {
        let certs = format!("{etc}/certs.d/127.0.0.1:{}", registry.port);
        let setup = format!(
            "mkdir -p {etc}; mount -t tmpfs none {etc}; mkdir -p '{certs}'; cp {ca} '{certs}/'"
        );
        pulls(&podctl(dir.path(), &name, &[], &setup));
        fs::remove_dir_all(dir.path().join("root")).unwrap();
    }
    pulls(&podctl(dir.path(), &name, &[("SSL_CERT_FILE", &ca)], ""));
    fs::remove_dir_all(dir.path().join("root")).unwrap();
    // Whoever says so may do without.
    let conf = dir.path().join("registries.conf");
    let insecure =
        format!("[[registry]]\nlocation = \"127.0.0.1:{}\"\ninsecure = true\n", registry.port);
    fs::write(&conf, insecure).unwrap();
    let conf = conf.display().to_string();
    pulls(&podctl(dir.path(), &name, &[("CONTAINERS_REGISTRIES_CONF", &conf)], ""));
    fs::remove_dir_all(dir.path().join("root")).unwrap();

    // By a name, from a file and through a proxy that has to know it; with the name in the
    // certificate, or not.
    let hosts =
        |name: &str| format!("echo '127.0.0.1 {name}' > hosts; mount --bind hosts /etc/hosts");
    let named = format!("registry.test:{}/app:1", registry.port);
    let env = [("SSL_CERT_FILE", ca.as_str())];
    pulls(&podctl(dir.path(), &named, &env, &hosts("registry.test")));
    fs::remove_dir_all(dir.path().join("root")).unwrap();
    let other = format!("other.test:{}/app:1", registry.port);
    let told = "x509: certificate not valid for name";
    fails(&podctl(dir.path(), &other, &env, &hosts("other.test")), told);
    let proxy = Proxy::before(registry.port);
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let env = [("SSL_CERT_FILE", ca.as_str()), ("HTTPS_PROXY", url.as_str())];
    pulls(&podctl(dir.path(), "registry.test:5000/app:1", &env, ""));
    assert!(!proxy.seen("CONNECT registry.test:5000").is_empty());
    let env = [env[0], env[1], ("NO_PROXY", "example.com,registry.test")];
    let seen = proxy.seen("CONNECT").len();
    fails(&podctl(dir.path(), "registry.test:5000/other:1", &env, ""), "lookup registry.test");
    assert_eq!(proxy.seen("CONNECT").len(), seen);
}

#[test]
fn socks_proxies_are_asked_by_name_or_by_address() {
    if skip(&["skopeo", "docker-registry"]) {
        return;
    }
    let registry = Registry::with(&Setup { tls: true, ..Setup::default() });
    registry.push_app("app:1", "");
    let ca = registry.dir.path().join("ca.crt").display().to_string();
    let dir = tempfile::tempdir().unwrap();
    let socks = Socks::before(registry.port);
    let port = socks.port;
    let through = |scheme: &str, name: &str, setup: &str| {
        let url = format!("{scheme}://user:secret@127.0.0.1:{port}");
        let env = [("SSL_CERT_FILE", ca.as_str()), ("ALL_PROXY", url.as_str())];
        let done = podctl(dir.path(), name, &env, setup);
        drop(fs::remove_dir_all(dir.path().join("root")));
        done
    };
    // Nobody here knows the name.
    pulls(&through("socks5h", "registry.test:5000/app:1", ""));
    assert_eq!(socks.asked(), ["user:secret", "registry.test:5000"]);
    fails(&through("socks5", "registry.test:5000/app:1", ""), "lookup registry.test");
    assert!(socks.asked().is_empty());
    let hosts = "echo '192.0.2.7 registry.test' > hosts; mount --bind hosts /etc/hosts";
    pulls(&through("socks5", "registry.test:5000/app:1", hosts));
    assert_eq!(socks.asked(), ["user:secret", "192.0.2.7:5000"]);
    fails(&through("socks5h", "refused.test:5000/app:1", ""), "connection refused");
    let url = format!("socks5h://user:wrong@127.0.0.1:{port}");
    let failed = podctl(dir.path(), "registry.test:5000/app:1", &[("ALL_PROXY", &url)], "");
    fails(&failed, "failed to resolve reference");
    assert!(!String::from_utf8_lossy(&failed.stderr).contains("wrong"));
}

#[test]
fn mirrors_are_tried_first_and_blocked_registries_never() {
    if skip(&["skopeo", "docker-registry"]) {
        return;
    }
    let registry = Registry::start();
    registry.push_app("hub/library/app:1", "");
    let dir = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let conf = format!(
        "[[registry]]\nprefix = \"docker.io\"\nlocation = \"127.0.0.1:{free}/main\"\n\
         [[registry.mirror]]\nlocation = \"127.0.0.1:{free}/dead\"\n\
         [[registry.mirror]]\nlocation = \"127.0.0.1:{}/hub\"\ninsecure = true\n\
         [[registry]]\nprefix = \"bad.test\"\nblocked = true\n",
        registry.port
    );
    let file = dir.path().join("conf").display().to_string();
    fs::write(&file, conf).unwrap();
    let env = [("CONTAINERS_REGISTRIES_CONF", file.as_str())];
    pulls(&podctl(dir.path(), "app:1", &env, ""));
    let refused = podctl(dir.path(), "app:2", &env, "");
    fails(&refused, "mirrors failed too (");
    fails(&refused, "connection refused");
    fails(
        &podctl(dir.path(), "bad.test/app", &env, ""),
        "registry bad.test is blocked in registries.conf",
    );
}

/// Answers every question for `registry.test` with 127.0.0.1, over UDP, and says of every other
/// name that it does not exist.
fn name_server() -> Option<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:53").ok()?;
    let server = socket.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((size, client)) = server.recv_from(&mut question) {
            let mut answer = question[..size].to_vec();
            if size < 12 {
                return;
            }
            let known = answer[12..].starts_with(b"\x08registry\x04test\x00\x00\x01");
            answer[2] |= 0x80;
            answer[3] =
                if known || answer[12..].starts_with(b"\x08registry\x04test\x00") { 0 } else { 3 };
            if known {
                answer[7] = 1;
                answer.extend(b"\xc0\x0c\x00\x01\x00\x01\0\0\0\x3c\x00\x04\x7f\x00\x00\x01");
            }
            server.send_to(&answer, client).unwrap();
        }
    });
    Some(socket)
}

#[test]
fn names_come_from_dns() {
    if skip_without_tools() {
        return;
    }
    let Some(server) = name_server() else {
        println!("SKIP: port 53 of 127.0.0.1 is taken");
        return;
    };
    let registry = Registry::with(&Setup { htpasswd: None, tls: true });
    registry.push_app("app:1", "");
    let dir = tempfile::tempdir().unwrap();
    let ca = registry.dir.path().join("ca.crt").display().to_string();
    let env = [("SSL_CERT_FILE", ca.as_str())];
    let setup =
        "printf 'nameserver 127.0.0.1\\nsearch test\\n' > r; mount --bind r /etc/resolv.conf";
    pulls(&podctl(dir.path(), &format!("registry.test:{}/app:1", registry.port), &env, setup));
    let unknown = podctl(dir.path(), "elsewhere.test/app:1", &env, setup);
    fails(&unknown, "lookup elsewhere.test on 127.0.0.1:53: no such host");
    // Ends its thread.
    server.send_to(b"bye", "127.0.0.1:53").unwrap();
}
