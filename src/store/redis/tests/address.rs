//! What a URL says, and what it must not.

use super::{
    super::address::{Host, Place},
    Address,
};

fn host(name: &str, port: u16) -> Host {
    Host { name: name.to_owned(), port }
}

fn login(address: &Address) -> (Option<&str>, Option<&str>) {
    (address.login.user.as_deref(), address.login.password.as_deref())
}

#[test]
fn a_server_has_a_host_a_port_a_login_and_a_database() {
    let rows = [
        ("redis://h", host("h", 6379), (None, None), 0),
        ("REDIS://h/", host("h", 6379), (None, None), 0),
        ("redis://h:1/3", host("h", 1), (None, None), 3),
        ("redis://[::1]", host("::1", 6379), (None, None), 0),
        ("redis://[fe80::1]:7/2", host("fe80::1", 7), (None, None), 2),
        ("redis://:p@10.0.0.1:65535", host("10.0.0.1", 65535), (None, Some("p")), 0),
        ("redis://u:p@h", host("h", 6379), (Some("u"), Some("p")), 0),
        ("redis://u:p:q@r@h", host("h", 6379), (Some("u"), Some("p:q@r")), 0),
        ("redis://%75:%2f%3F%40%23,%25@h/1", host("h", 6379), (Some("u"), Some("/?@#,%")), 1),
        ("redis://:%c3%a4@h", host("h", 6379), (None, Some("ä")), 0),
        ("redis://:@h", host("h", 6379), (None, None), 0),
    ];
    for (url, expected, who, db) in rows {
        let address = Address::parse(url).unwrap();
        let Place::Server(host) = &address.place else { panic!("{url}: {address:?}") };
        assert_eq!((host, login(&address), address.db, address.tls), (&expected, who, db, false));
    }
}

#[test]
fn a_socket_has_a_path_and_options() {
    let rows = [
        ("unix:/run/redis.sock", "/run/redis.sock", 0, (None, None)),
        ("unix:///run/redis.sock", "/run/redis.sock", 0, (None, None)),
        ("redis+unix:///a%20b", "/a b", 0, (None, None)),
        ("unix:///s?db=4&user=u&password=%26", "/s", 4, (Some("u"), Some("&"))),
        ("unix:///s?password=p", "/s", 0, (None, Some("p"))),
    ];
    for (url, path, db, who) in rows {
        let address = Address::parse(url).unwrap();
        let Place::Socket(read) = &address.place else { panic!("{url}: {address:?}") };
        assert_eq!((read.to_str(), address.db, login(&address)), (Some(path), db, who), "{url}");
    }
}

#[test]
fn several_hosts_are_a_cluster_or_sentinels() {
    let address = Address::parse("redis://u:p@a,b:1,[::2]:3?cluster").unwrap();
    let Place::Cluster(hosts) = &address.place else { panic!("{address:?}") };
    assert_eq!(hosts[..], [host("a", 6379), host("b", 1), host("::2", 3)]);
    assert_eq!(login(&address), (Some("u"), Some("p")));

    let url = "redis://:p@a,b:1/2?sentinel=main&sentinel-user=s&sentinel-password=t";
    let address = Address::parse(url).unwrap();
    let Place::Sentinels { hosts, master, login: theirs } = &address.place else {
        panic!("{address:?}")
    };
    assert_eq!((&hosts[..], &**master), (&[host("a", 26_379), host("b", 1)][..], "main"));
    assert_eq!((theirs.user.as_deref(), theirs.password.as_deref()), (Some("s"), Some("t")));
    assert_eq!((login(&address), address.db), ((None, Some("p")), 2));
}

#[test]
fn what_is_not_an_address_is_refused() {
    let bad = [
        "",
        "h",
        "h:6379",
        "http://h",
        "redis:h",
        "redis:/h",
        "redis://",
        "redis:///1",
        "redis://:6379",
        "redis://h:",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:-1",
        "redis://h:x",
        "redis://::1",
        "redis://[::1",
        "redis://[::1]x",
        "redis://[h]",
        "redis://[]",
        "redis://a b",
        "redis://a\r\nb",
        "redis://a\0",
        "redis://h/x",
        "redis://h/-1",
        "redis://h/1/2",
        "redis://h/1.5",
        "redis://h/99999999999",
        "redis://u@h",
        "redis://u:@h",
        "redis://:p%@h",
        "redis://:p%4@h",
        "redis://:%ff@h",
        "redis://%68",
        "redis://h#insecure",
        "redis://h?x",
        "redis://h?x=1",
        "redis://h?db=1",
        "redis://h?user=u",
        "redis://h?protocol=3",
        "redis://h?Cluster",
        "redis://h?cluster=no",
        "redis://h?cluster&cluster",
        "redis://h?sentinel",
        "redis://h?sentinel=",
        "redis://h?sentinel=a&sentinel=b",
        "redis://h?sentinel=a&cluster",
        "redis://h?sentinel-password=p",
        "redis://h/1?cluster",
        "redis://h?sentinel=a&sentinel-user=u",
        "redis://a,b",
        "redis://a,b/1",
        "redis://a,,b?cluster",
        "redis://a,?cluster",
        "redis://,?cluster",
        "unix:",
        "unix://",
        "unix:path",
        "unix://host/path",
        "unix:///",
        "unix:///s/",
        "unix:///s?cluster",
        "unix:///s?sentinel=a",
        "unix:///s?db=x",
        "unix:///s?user=u",
        "unix:///s?path=/t",
        "redis+unix:/",
    ];
    for url in bad {
        assert!(Address::parse(url).is_err(), "{url}");
    }
}

#[test]
fn without_its_feature_tls_is_refused_by_name() {
    let address = Address::parse("rediss://:p@h:1");
    if cfg!(feature = "redis-tls") {
        let address = address.unwrap();
        assert!(address.tls);
        assert_eq!(address.to_string(), "rediss://h:1");
    } else {
        assert!(address.unwrap_err().to_string().contains("redis-tls"));
    }
}

#[test]
fn nothing_that_is_printed_has_a_password_or_a_part_of_one() {
    let good = [
        "redis://user:hunter2@h/1",
        "redis://:hunter2@a,b?cluster",
        "redis://user:hunter2@a,b?sentinel=m&sentinel-user=other&sentinel-password=hunter2",
        "unix:///s?user=user&password=hunter2",
    ];
    for url in good {
        let address = Address::parse(url).unwrap();
        for printed in [address.to_string(), format!("{address:?}"), format!("{address:#?}")] {
            assert!(!printed.contains("hunter2"), "{printed}");
        }
    }
    // Whatever stands unencoded in a password, it ends up where something else is read.
    for special in ["#", "?", "/", "%", "&", " ", "\n", ",", "[", "]", "?x=", "/?", "@/", ":@"] {
        for url in [
            format!("redis://:hunter2{special}hunter2@h"),
            format!("redis://:hunter2@h{special}hunter2"),
            format!("redis://hunter2{special}hunter2:hunter2@h:x"),
            format!("redis://h?sentinel=m&sentinel-password=hunter2{special}hunter2"),
            format!("unix:///s?password=hunter2{special}hunter2"),
        ] {
            match Address::parse(&url) {
                Ok(address) => {
                    let printed = format!("{:?}", address.login);
                    assert!(!printed.contains("hunter2"), "{printed}");
                }
                Err(error) => {
                    let printed = format!("{error} {error:?}");
                    assert!(!printed.contains("hunter2"), "{url:?}: {printed}");
                }
            }
        }
    }
}

#[test]
fn an_address_is_printed_as_it_could_be_written() {
    for url in [
        "redis://h:6379",
        "redis://[::1]:7/3",
        "redis://a:6379,b:1?cluster",
        "redis://a:26379,b:1/2?sentinel=m",
        "unix:///s",
        "unix:///s?db=2",
    ] {
        assert_eq!(url.parse::<Address>().unwrap().to_string(), url);
    }
}
