//! What a model reads of an HTML page.

use htmd::options::{BulletListMarker, CodeBlockStyle, HeadingStyle, HrStyle, Options};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};
use std::cell::{Cell, RefCell};

/// The page as Markdown.
pub(super) fn markdown(html: &str) -> String {
    let options = Options {
        heading_style: HeadingStyle::Atx,
        hr_style: HrStyle::Dashes,
        bullet_list_marker: BulletListMarker::Dash,
        code_block_style: CodeBlockStyle::Fenced,
        ..Options::default()
    };
    let converter = htmd::HtmlToMarkdown::builder()
        .options(options)
        .skip_tags(vec!["script", "style", "meta", "link"])
        .build();
    converter.convert(html).unwrap_or_else(|_| text(html))
}

/// The page's text, without markup, scripts and styles.
pub(super) fn text(html: &str) -> String {
    let tokenizer = Tokenizer::new(Text::default(), TokenizerOpts::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(html));
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    tokenizer.sink.out.take().trim().to_string()
}

const HIDDEN: &[&str] = &["script", "style", "noscript", "iframe", "object", "embed"];
const VOID: &[&str] = &[
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track",
    "wbr",
];

#[derive(Default)]
struct Text {
    out: RefCell<String>,
    /// How deep in something that is not shown.
    hidden: Cell<usize>,
}

impl TokenSink for Text {
    type Handle = ();

    fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
        match token {
            Token::CharacterTokens(text) if self.hidden.get() == 0 => {
                self.out.borrow_mut().push_str(&text);
            }
            Token::TagToken(tag) => {
                let name = &*tag.name;
                let hidden = self.hidden.get();
                match tag.kind {
                    TagKind::StartTag => {
                        let void = tag.self_closing || VOID.contains(&name);
                        if !void && (hidden > 0 || HIDDEN.contains(&name)) {
                            self.hidden.set(hidden + 1);
                        }
                        // Otherwise a `<` in a script would start a tag.
                        let raw = match name {
                            "script" => Some(RawKind::ScriptData),
                            "style" | "iframe" => Some(RawKind::Rawtext),
                            "title" => Some(RawKind::Rcdata),
                            _ => None,
                        };
                        if let Some(raw) = raw.filter(|_| !void) {
                            return TokenSinkResult::RawData(raw);
                        }
                    }
                    TagKind::EndTag => self.hidden.set(hidden.saturating_sub(1)),
                }
            }
            _ => {}
        }
        TokenSinkResult::Continue
    }
}
