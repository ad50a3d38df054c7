//! A poll in a frame of an article on another site, in a real browser: `localhost` and `127.0.0.1` are two sites.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use fantoccini::{Client, Locator};

use super::browser::{click, run, says};
use crate::support::{Browser, Memcached, Service, Site, Wish};

/// Has each connection to a port of its own answered by a thread.
fn listen(answer: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || answer(stream));
        }
    });
    address
}

/// The head of a request, to its empty line.
fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A newspaper: every page of it is an article with this in a frame.
fn newspaper(framed: String) -> SocketAddr {
    listen(move |mut stream| {
        read_head(&mut stream);
        let page = format!(
            "<!DOCTYPE html><title>Article</title><h1>News</h1><p id=height></p><iframe src=\"{framed}\" width=600 \
             height=500></iframe><script>addEventListener('message', (event) => {{ \
             document.querySelector('#height').textContent = `tall: ${{event.data.weir.height}}`; }});</script>"
        );
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
        let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{page}", page.len());
    })
}

/// A proxy that says that its clients came over TLS. The browser takes loopback for as safe as that.
fn proxy(service: SocketAddr) -> SocketAddr {
    listen(move |mut client| {
        let head = read_head(&mut client).replace("Connection: keep-alive", "Connection: close");
        let Some((line, rest)) = head.split_once("\r\n") else { return };
        let mut upstream = TcpStream::connect(service).unwrap();
        let _ = write!(upstream, "{line}\r\nX-Forwarded-Proto: https\r\n{rest}");
        let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from, &mut to));
        let _ = std::io::copy(&mut upstream, &mut client);
        let _ = client.shutdown(std::net::Shutdown::Both);
    })
}

/// Loads an article and goes into its frame.
async fn read(client: &Client, newspaper: SocketAddr) {
    client.goto(&format!("http://localhost:{}/article", newspaper.port())).await.unwrap();
    client.find(Locator::Css("iframe")).await.unwrap().enter_frame().await.unwrap();
}

fn start(memcached: &Memcached) -> Site {
    let site = Site::new(&[memcached]);
    site.create_now();
    site
}

fn origin(newspaper: SocketAddr) -> String {
    format!("http://localhost:{}", newspaper.port())
}

#[test]
fn a_vote_in_a_frame_over_tls_is_remembered_even_where_third_party_cookies_are_blocked() {
    let memcached = Memcached::start();
    let site = start(&memcached);
    let browser = Browser::start();
    // The article's origin must be known to the service, and the frame's to the article.
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen_at = port.local_addr().unwrap();
    drop(port);
    let through = proxy(listen_at);
    let newspaper = newspaper(format!("http://{through}/polls/now?embed=1"));
    let listen_at = listen_at.to_string();
    let arguments =
        ["--listen", &listen_at, "--flush-every", "100ms", "--trusted-proxy", "127.0.0.1", "--embed-origin"];
    let _service = Service::start(&site, &[&arguments[..], &[&origin(newspaper)]].concat());
    run(async {
        for without_third_party_cookies in [false, true] {
            let client = browser.open(Wish { without_third_party_cookies, ..Wish::WIDE }).await;
            read(&client, newspaper).await;
            click(&client, "li:first-child label").await;
            click(&client, "button").await;
            says(&client, "Thank you").await;
            read(&client, newspaper).await;
            says(&client, "already voted").await;
            client.enter_parent_frame().await.unwrap();
            says(&client, "tall: ").await;
            client.close().await.unwrap();
        }
    });
    assert_eq!(site.counted("now").len(), 2);
}

#[test]
fn a_vote_in_a_frame_without_tls_is_taken_and_the_browser_forgets_it() {
    let memcached = Memcached::start();
    let site = start(&memcached);
    let browser = Browser::start();
    let framed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let newspaper = newspaper(format!("http://{framed}/polls/now?embed=1"));
    let arguments = ["--listen", &framed.to_string(), "--flush-every", "100ms", "--embed-origin", &origin(newspaper)];
    let service = Service::start(&site, &arguments);
    run(async {
        let client = browser.open(Wish::WIDE).await;
        for _ in 0..2 {
            read(&client, newspaper).await;
            click(&client, "li:first-child label").await;
            click(&client, "button").await;
            says(&client, "Thank you").await;
        }
        client.close().await.unwrap();
    });
    assert_eq!(service.end(), Some(0));
    assert_eq!(site.counted("now").len(), 2);
}

#[test]
fn a_page_that_was_not_granted_it_cannot_frame_a_poll() {
    let memcached = Memcached::start();
    let site = start(&memcached);
    let browser = Browser::start();
    for granted in [&[][..], &["--embed-origin", "http://localhost:1"]] {
        let service = Service::start(&site, granted);
        let newspaper = newspaper(format!("{}/polls/now?embed=1", service.origin()));
        run(async {
            let client = browser.open(Wish::WIDE).await;
            read(&client, newspaper).await;
            // The browser's own page in its stead.
            client.wait().for_element(Locator::Css("body.neterror")).await.unwrap();
            assert!(client.find(Locator::Css("form")).await.is_err());
            client.close().await.unwrap();
        });
    }
}
