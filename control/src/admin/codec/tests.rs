//! The protocol's bytes: what goes in comes out, whatever the pieces, and nothing else does.

use super::super::proto::*;
use super::*;

fn requests() -> Vec<Request> {
    let link = WireLink {
        link: "ares:abc".into(),
        inside: Raw(b"a/\xff".to_vec()),
    };
    vec![
        Request::Status,
        Request::Content {
            release: "65f4a17319".into(),
        },
        Request::Publish {
            path: Raw(b"/srv/\xfe\x00x".to_vec()),
            name: None,
            options: ImportHow {
                troubled: Troubled::Skip,
                ..ImportHow::default()
            },
        },
        Request::Get {
            link: link.clone(),
            dest: Raw(b"/out".to_vec()),
            overwrite: Overwrite::Replace,
        },
        Request::Warm { link: link.clone() },
        Request::Mount {
            link: Some(link.clone()),
            dir: Raw(b"/mnt".to_vec()),
            stay: Stay::Detached,
            how: MountHow {
                audience: Audience::Owner,
                passthrough: Passthrough::Auto,
                transport: Transport::Dev,
                patience_ms: Some(30_000),
                name: Some("n".into()),
                reach: Reach::Store,
                modes: Modes {
                    uid: Some(7),
                    umask: 0o022,
                    ..Modes::default()
                },
                prefetch: Prefetch::This(Raw(b"0-1 a\n0- \xff\n".to_vec())),
            },
        },
        Request::Show {
            dir: Raw(b"/mnt".to_vec()),
            name: Raw(b"\xff".to_vec()),
            link: link.clone(),
            overwrite: Overwrite::Replace,
        },
        Request::Hide {
            dir: Raw(b"/mnt".to_vec()),
            name: Raw(b"v1".to_vec()),
        },
        Request::Profile {
            at: Raw(b"/mnt".to_vec()),
        },
        Request::Umount {
            dir: Raw(b"/mnt".to_vec()),
            force: Force::Lazy,
        },
        Request::Ls { link: link.clone() },
        Request::Cat { link },
    ]
}

fn replies() -> Vec<Reply> {
    let progress = Progress {
        phase: Phase::Fetch,
        bytes_done: 1,
        bytes_total: 2,
        items_done: 0,
        items_total: 0,
    };
    vec![
        Reply::Event(Event::Progress(progress)),
        Reply::Event(Event::Note {
            text: "line\nbreak".into(),
        }),
        Reply::Event(Event::Data {
            data: Bytes::from_static(b"{\"raw\n\xff bytes\n"),
        }),
        Reply::Event(Event::Data { data: Bytes::new() }),
        Reply::Event(Event::Mounted {
            dir: Raw(b"/mnt".to_vec()),
            release: Some("ab".into()),
        }),
        Reply::Done {
            ok: Outcome::Listed { entries: 3 },
        },
        Reply::Failed {
            error: Failure::new(Kind::Network, "no source").help("wait"),
        },
    ]
}

#[test]
fn what_goes_in_comes_out_whatever_the_pieces() {
    for piece in [1, 2, 7, 1 << 20] {
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        let wire: Vec<u8> = requests().iter().flat_map(encode_request).collect();
        for bytes in wire.chunks(piece) {
            decoder.on_bytes(bytes);
            while let Some(request) = decoder.request().unwrap() {
                out.push(request);
            }
        }
        assert_eq!(out, requests(), "pieces of {piece}");
        assert_eq!(decoder.on_end(), Ok(()));

        let mut out = Vec::new();
        let encode = |reply: &Reply| {
            let (line, data) = encode_reply(reply);
            [line, data.to_vec()].concat()
        };
        let wire: Vec<u8> = replies().iter().flat_map(encode).collect();
        for bytes in wire.chunks(piece) {
            decoder.on_bytes(bytes);
            while let Some(reply) = decoder.reply().unwrap() {
                out.push(reply);
            }
        }
        assert_eq!(out, replies(), "pieces of {piece}");
        assert_eq!(decoder.on_end(), Ok(()));
    }
}

#[test]
fn golden_lines() {
    let check = |line: &str, request: Request| assert_eq!(encode_request(&request), format!("{line}\n").into_bytes());
    check(r#"{"v":1,"request":{"cmd":"status"}}"#, Request::Status);
    check(
        r#"{"v":1,"request":{"cmd":"publish","path":{"hex":"2fff"},"name":null,"options":{"large_files":"in-place","troubled":"fail","file_hash":"leave"}}}"#,
        Request::Publish {
            path: Raw(b"/\xff".to_vec()),
            name: None,
            options: ImportHow::default(),
        },
    );
    let (line, data) = encode_reply(&Reply::Event(Event::Data {
        data: Bytes::from_static(b"xyz"),
    }));
    assert_eq!(
        (line.as_slice(), &data[..]),
        (b"{\"event\":\"data\",\"bytes\":3}\n".as_slice(), b"xyz".as_slice())
    );
}

#[test]
fn other_bytes_are_refused_with_a_reason() {
    let check = |bytes: &[u8], expect: &str| {
        let mut decoder = Decoder::default();
        decoder.on_bytes(bytes);
        let error = decoder.request().expect_err(expect).to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(b"hello\n", "not of this protocol");
    check(b"{}\n", "no version");
    check(b"\xff\xfe\n", "not of this protocol");
    check(
        br#"{"v":1,"request":{"cmd":"frobnicate"}}"#.iter().chain(b"\n").copied().collect::<Vec<u8>>().as_slice(),
        "unknown variant",
    );
    check(b"{\"v\":1,\"request\":{\"cmd\":\"publish\"}}\n", "missing field");
    check(b"{\"v\":2,\"request\":{\"cmd\":\"tbd\"}}\n", "protocol version 2");
    check(&vec![b'x'; REQUEST_BYTES_MAX + 1], "longer than");
    check(&[vec![b' '; REQUEST_BYTES_MAX + 1], b"\n".to_vec()].concat(), "longer than");
    check(&[vec![b'['; 20_000], b"\n".to_vec()].concat(), "recursion limit");

    let mut decoder = Decoder::default();
    decoder.on_bytes(b"\n \n{\"event\":\"data\",\"bytes\":99999999}\n");
    assert_eq!(decoder.reply(), Err(CodecError::LongData { bytes: 99_999_999 }));
    let mut decoder = Decoder::default();
    decoder.on_bytes(b"{\"v\":1");
    assert_eq!((decoder.request(), decoder.on_end()), (Ok(None), Err(CodecError::Cut)));
}
