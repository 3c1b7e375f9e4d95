//! Flags of stores that the gateway does not start with.

use std::fs;

use super::*;

#[track_caller]
fn refused(args: &[&str], env: &[(&str, &str)], names: &str) {
    let listens = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let output = run(&[&listens, args].concat(), env);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
    assert_eq!(error.lines().count(), 1, "{args:?}: {error}");
    assert!(error.contains(names) && !error.contains("secret"), "{args:?}: {error}");
    assert!(output.stdout.is_empty(), "{args:?}");
}

#[test]
fn a_place_that_is_none_is_one_line_without_the_password() {
    for url in [
        "",
        "127.0.0.1:6379",
        "http://:secret@a",
        "redis:",
        "redis://",
        "redis://:secret@",
        "redis://secret@a",
        "redis://user:secret@a:0",
        "redis://user:secret@a:port",
        "redis://user:se@cret:secret@a:99999",
        "redis://:sec/secret@a",
        "redis://:secret#1@a",
        "redis://:the secret@a",
        "redis://:100%secret@a",
        "redis://:secret@a/db",
        "redis://:secret@a,b",
        "redis://:secret@a/1?cluster",
        "redis://:secret@a?sentinel=",
        "redis://a?sentinel-password=secret",
        "redis://a?password=secret",
        "redis://a?secret",
        "unix:relative?password=secret",
        "unix:///a?user=secret",
    ] {
        refused(&["--redis", url], &[], "--redis: ");
        refused(&[], &[("SEAWALL_REDIS", url)], "--redis: ");
    }
    for servers in
        ["", "a:0", "a:99999", "a:b:c", "redis://:secret@a", "user:secret@a", "a b", "a,,b"]
    {
        refused(&["--memcached", servers], &[], "--memcached");
    }
    refused(&["--memcached", "a:1", "--memcached", "a:1"], &[], "--memcached: ");
    for namespace in ["", "a b", "a:b", "ä", "123456789012345678901234567890123"] {
        refused(&["--redis", "redis://a", "--namespace", namespace], &[], "--namespace");
    }
    refused(&["--redis", "redis://a", "redis://:secret@b"], &[], "unexpected");
    refused(&["--redis", "redis://a", "--redis", "redis://:secret@b"], &[], "--redis");
}

#[test]
fn what_does_not_go_together_is_one_line() {
    let redis = ["--redis", "redis://:secret@a"];
    refused(&[&redis[..], &["--memcached", "b"]].concat(), &[], "--redis and --memcached");
    refused(&["--memcached", "b"], &[("SEAWALL_REDIS", redis[1])], "--redis and --memcached");
    refused(&["--near", "off"], &[], "--near off");
    refused(&[], &[("SEAWALL_NEAR", "off")], "--near off");
    refused(&[&redis[..], &["--near", "1MiB"]].concat(), &[], "--near");
    refused(&[&redis[..], &["--redis-ca", "ca.pem"]].concat(), &[], "--redis-ca");
}

#[test]
fn an_authority_that_is_none_is_one_line() {
    let tls = Redis::tls();
    let redis = ["--redis", "rediss://:secret@a", "--redis-ca"];
    refused(&[&redis[..], &["/does/not/exist"]].concat(), &[], "--redis-ca");
    let file = format!("{}.txt", tls.authority());
    for content in
        ["", "no PEM", "-----BEGIN CERTIFICATE-----\nsecret\n-----END CERTIFICATE-----\n"]
    {
        fs::write(&file, content).unwrap();
        for url in
            ["rediss://:secret@a", "rediss://:secret@a?cluster", "rediss://:secret@a?sentinel=m"]
        {
            refused(&["--redis", url, "--redis-ca", &file], &[], "--redis");
        }
    }
}

#[test]
fn help_shows_no_password_of_the_environment() {
    let output = run(&["--help"], &[("SEAWALL_REDIS", "redis://:secret@a")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("SEAWALL_REDIS") && !text.contains("secret"), "{text}");
}
