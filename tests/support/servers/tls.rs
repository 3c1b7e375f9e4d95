//! Certificates for a server on loopback.

use std::{fs, process::Command};

use super::process::Directory;

const CONFIG: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = of the command line
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = IP:127.0.0.1, DNS:localhost
";

/// Makes an authority, `ca.pem`, and what it has signed: `certificate.pem` of `key.pem`, for a server
/// and for its clients.
pub fn certify(directory: &Directory) {
    fs::write(directory.file("openssl.cnf"), CONFIG).unwrap();
    let authority = ["-extensions", "ca", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(directory, &[&["-subj", "/CN=authority"], &authority[..]].concat());
    let server = ["-extensions", "server", "-keyout", "key.pem", "-out", "certificate.pem"];
    let signed = ["-subj", "/CN=server", "-CA", "ca.pem", "-CAkey", "ca.key"];
    openssl(directory, &[&signed[..], &server[..]].concat());
}

fn openssl(directory: &Directory, args: &[&str]) {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let made = Command::new("openssl")
        .args(["req", "-x509", "-config", "openssl.cnf", "-days", "3650"])
        .args(key)
        .args(args)
        .current_dir(directory.path())
        .output()
        .unwrap_or_else(|error| panic!("openssl, which tests/run installs: {error}"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
