//! What an answer is made of comes out of a shared store as it went in.

use tonic::transport::Endpoint;

use super::{
    super::shop::{FIND, Shop, call},
    *,
};

#[tokio::test]
async fn the_second_finds_variants_and_parts_and_confirms() {
    const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncache-control: max-age=600\r\n\
                         vary: accept-language\r\netag: ";
    let mut shared = Shared::redis(Redis::start());
    let (origin, says, mut asked) = changing(PAGE).await;
    let (first, second) = (shared.before(origin, &[]), shared.before(origin, &[]));
    let found = calmly(&[&first, &second], async |number| {
        let (before, head) = ((shared.records)(), format!("GET /{number} HTTP/1.1\r\nhost: a\r\n"));
        for (language, text) in [("de", "Seite"), ("en", "pages")] {
            says.send(format!("{WHOLE}\"{language}\"\r\n\r\n{text}")).unwrap();
            first.ask(&format!("{head}accept-language: {language}\r\n")).await;
        }
        // How they vary, and two of them.
        shared.has(before + 3).await;
        calls(&mut asked);
        let mut found = Vec::new();
        for fields in [
            "accept-language: de\r\n",
            "accept-language: en\r\n",
            "accept-language: de\r\nrange: bytes=1-2\r\n",
            "accept-language: en\r\nrange: bytes=-2\r\n",
            "accept-language: en\r\nif-none-match: \"en\"\r\n",
        ] {
            let answer = second.ask(&format!("{head}{fields}")).await;
            assert_eq!(field(&answer, "cache-status"), HIT, "{fields:?}: {answer}");
            let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
            found.push((status(&answer), body));
        }
        found
    })
    .await;
    let expected = [(200, "Seite"), (200, "pages"), (206, "ei"), (206, "es"), (304, "")];
    assert_eq!(found, expected.map(|(status, body)| (status, body.to_owned())));
    assert_eq!(calls(&mut asked), 0);
}

#[tokio::test]
async fn the_second_answers_a_range_from_a_part_that_the_first_stored() {
    const PART: &str = "HTTP/1.1 206 Partial Content\r\ncontent-length: 4\r\netag: \"1\"\r\n\
                        content-range: bytes 0-3/8\r\ncache-control: max-age=600\r\n\r\nthe ";
    let mut shared = Shared::redis(Redis::start());
    let (origin, mut asked) = scripted(PART).await;
    let start = || shared.before(origin, &["--profile", "reverse-proxy"]);
    let (first, second) = (start(), start());
    let found = calmly(&[&first, &second], async |number| {
        let head = format!("GET /{number} HTTP/1.1\r\nhost: a\r\nrange: bytes=");
        let before = (shared.records)();
        first.ask(&format!("{head}0-3\r\n")).await;
        shared.has(before + 1).await;
        calls(&mut asked);
        second.ask(&format!("{head}1-2\r\n")).await
    })
    .await;
    assert_eq!((status(&found), field(&found, "cache-status")), (206, HIT), "{found}");
    assert_eq!(field(&found, "content-range"), "bytes 1-2/8");
    assert!(found.ends_with("\r\n\r\nhe"), "{found}");
    assert_eq!(calls(&mut asked), 0);
}

#[tokio::test]
async fn the_second_finds_a_grpc_methods_answer_with_its_trailers() {
    let mut shared = Shared::redis(Redis::start());
    let shop = Shop::open();
    let url = format!("h2c://{}", shop.serve().await);
    let flags = ["--origin", &url, "--grpc-cache", "/shop.Catalogue/Find=60s"];
    let (first, second) =
        (Gateway::start(&shared.with(&flags)), Gateway::start(&shared.with(&flags)));
    // Both are called by one name.
    let client = async |gateway: &Gateway| {
        let endpoint = Endpoint::from_shared(format!("http://{}", gateway.addr)).unwrap();
        let endpoint = endpoint.origin("http://shop.example".parse().unwrap());
        tonic::client::Grpc::new(endpoint.connect().await.unwrap())
    };
    let (to_first, to_second) = (client(&first).await, client(&second).await);
    let ((made, _), (found, metadata)) = calmly(&[&first, &second], async |number| {
        let (name, before) = (format!("shoe {number}"), (shared.records)());
        let made = call(&to_first, FIND, &name).await.unwrap();
        shared.has(before + 1).await;
        (made, call(&to_second, FIND, &name).await.unwrap())
    })
    .await;
    assert_eq!(found, made);
    let fields = metadata.into_headers();
    assert_eq!(fields["cache-status"], HIT);
    assert_eq!(fields["x-call"], made.call.to_string());
}
