"""Wiki texts: a pool of generated English and Japanese markdown, from which bodies are cut.

Cutting is what makes a large wiki fast to generate; the pool is large enough (4 MiB) that a compressor's window
sees the repetition of ordinary prose and no more.
"""

from __future__ import annotations

from bisect import bisect_left
from random import Random

from growi_transfer.demo.identity import seeded

_POOL_BYTES = 4 << 20

_ENGLISH_WORDS = (
    "the of and a to in is for on with that as by at from this it an be are or we our can will not all after "
    "before when page wiki team release server cluster backup restore index document field value request "
    "answer client browser user group permission revision comment attachment picture diagram table heading "
    "section chapter summary introduction deploy rollback monitor alert incident report customer contract "
    "invoice budget quarter plan schedule meeting agenda minutes decision action owner deadline review "
    "approval design sketch prototype test measurement result graph latency throughput memory storage network "
    "address certificate password token session login account profile language translation keyboard shortcut "
    "editor preview template example warning mistake correction question procedure checklist step option "
    "default limit setting variable environment container image volume script command output error message "
    "log trace debugging cause effect workaround fix patch version upgrade migration schema collection "
    "database query pipeline cache queue worker job cron nightly weekly monthly yearly archive policy "
    "security audit compliance privacy travel expense office floor room building station morning evening "
    "shared internal external public private draft final old new fast slow large small simple careful open "
    "closed write read copy move delete rename search find link quote publish subscribe follow ignore measure "
    "compare explain describe prepare collect gather publish announce discuss agree refuse accept change keep "
    "remove add because therefore however although unless until while during within without against between "
    "among through first second third next last every each some many few several both either neither more "
    "less most least"
)
_JAPANESE_WORDS = (
    "会議 議事録 資料 手順書 設計 実装 試験 結果 報告 確認 承認 変更 削除 追加 共有 公開 非公開 編集 閲覧 "
    "権限 利用者 管理者 部署 営業部 総務部 開発部 人事部 経理部 顧客 契約 請求書 見積もり 予算 計画 予定 期限 "
    "担当者 課題 対応 障害 復旧 原因 影響範囲 再発防止 監視 通知 設定 環境変数 初期値 上限 索引 検索 "
    "添付ファイル 画像 図 表 見出し 目次 参考 注意 補足 例えば つまり しかし また なお ただし そのため まず "
    "次に 最後に 必要に応じて 原則として 事前に 速やかに 毎週 毎月 を行います が必要です してください "
    "となります を参照 について に関する による のための です ます した する から まで より は が を に で と "
    "の も へ や など ので のに ても ながら 東京 大阪 札幌 福岡 本社 支社 出張 経費 申請 休暇 研修 面談 "
    "サーバー クライアント データベース バックアップ ページ リビジョン コメント タグ グループ ログイン "
    "パスワード トークン テンプレート プレビュー マークダウン リンク エラー メッセージ ログ バージョン "
    "リリース デプロイ"
)
_TITLE_TEXTS = (
    "Meeting notes|Design notes|Release plan|How to|FAQ|Onboarding|Checklist|Post-mortem|Architecture|"
    "Weekly report|議事録|設計メモ|手順書|障害報告|よくある質問|週報|引き継ぎ|研修資料|出張報告|Q&A まとめ"
)
_AREA_TEXTS = (
    "Engineering|Design|Support|Handbook|Projects|Archive 2024|Research & Development|営業部|総務部|開発部|"
    "社内規程|プロジェクト|お知らせ|新人向け"
)
_ENGLISH, _JAPANESE = _ENGLISH_WORDS.split(), _JAPANESE_WORDS.split()
_TITLES, _AREAS = _TITLE_TEXTS.split("|"), _AREA_TEXTS.split("|")


class TextPool:
    """Generated text, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        rng = seeded(f"text {seed}")
        parts: list[bytes] = []
        self._starts: list[int] = []
        size = 0
        while size < _POOL_BYTES:
            part = _block(rng).encode()
            self._starts.append(size)
            parts.append(part)
            size += len(part)
        self._pool = b"".join(parts)
        # A body may begin anywhere up to here and still have room for any usual length.
        self._usable = bisect_left(self._starts, size * 3 // 4)

    def body(self, page: int, revision: int, size: int) -> str:
        """The body of a page's revision, about `size` bytes of UTF-8 (half to one and a half times as many).

        Revisions of one page share most of their text, as edits do.
        """
        share = (page * 2654435761 % 1024) / 1024
        length = max(1, int(size * (0.5 + share)))
        start = self._starts[page * 40503 % self._usable]
        edit = self._starts[(page * 31 + revision * 7919) % self._usable]
        edited = min(length // 8, 600)
        head = f"# {_TITLES[page % len(_TITLES)]} {page}\n\n" if length > 200 else ""
        kept = self._cut(start, length - edited - len(head.encode()))
        return head + kept + self._cut(edit, edited)

    def sentence(self, number: int, size: int) -> str:
        """A short text of at most `size` bytes."""
        return " ".join(self._cut(self._starts[number * 97 % self._usable], size).split())

    def _cut(self, start: int, length: int) -> str:
        pool = self._pool
        if length > len(pool) - start:
            pool = pool * (length // len(pool) + 2)
        end = start + max(0, length)
        while end > start and pool[end] & 0xC0 == 0x80:
            end -= 1
        return pool[start:end].decode()


def area(rng: Random) -> str:
    """Name of a top level of the page tree."""
    return rng.choice(_AREAS)


def title(rng: Random, number: int) -> str:
    """Name of a page; `number` makes it unlike its neighbours."""
    return f"{rng.choice(_TITLES)} {number}"


def _block(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.12:
        return f"\n## {_english(rng, 4).capitalize()}\n\n"
    if kind < 0.2:
        return f"\n## {''.join(rng.choices(_JAPANESE, k=4))}\n\n"
    if kind < 0.3:
        return "".join(f"- [{rng.choice('x ')}] {_english(rng, rng.randint(3, 9))}\n" for _ in range(rng.randint(2, 6)))
    if kind < 0.36:
        rows = "".join(
            f"| {rng.choice(_JAPANESE)} | {rng.randrange(100_000)} | {rng.choice(_ENGLISH)} |\n"
            for _ in range(rng.randint(2, 6))
        )
        return f"\n| 項目 | 値 | note |\n| --- | ---: | --- |\n{rows}\n"
    if kind < 0.42:
        lines = "".join(
            f"{rng.choice(_ENGLISH)}_{rng.choice(_ENGLISH)} = 0x{rng.getrandbits(48):012x}\n" for _ in range(4)
        )
        return f"\n```\n{lines}```\n\n"
    if kind < 0.7:
        link = f"[{rng.choice(_ENGLISH)}](/{rng.getrandbits(96):024x})"
        return f"{_english(rng, rng.randint(20, 70)).capitalize()}. {link}\n\n"
    return (
        "".join("".join(rng.choices(_JAPANESE, k=rng.randint(4, 12))) + "。" for _ in range(rng.randint(2, 6)))
        + f"（{rng.randint(2019, 2026)}年{rng.randint(1, 12)}月）\n\n"
    )


def _english(rng: Random, words: int) -> str:
    # The square makes the words at the front of the list, which are the common ones, come more often.
    count = len(_ENGLISH)
    return " ".join(_ENGLISH[int(rng.random() ** 2 * count)] for _ in range(words))
