"""The words that tell how hard a request is, in eleven languages, and how a text is searched for them.

Each word counts once however often it occurs, with the strength that heads its line: 3 for what makes a task hard by
itself ("prove"), 1.5 for work in several steps ("analyze", "step by step"), 1 for a clear sign, 0.5 for a faint one.
Three searches, each linear in the text, since scripts differ in how a word is found:

* English, German, French, Spanish and Portuguese fit into Latin-1: there the text becomes bytes, one table lowers the
  case and blanks the punctuation, and the words are looked up whole (phrases are confirmed by a second look);
* Russian, Arabic and Hindi inflect at the end: words are looked up by their first ``STEM`` letters;
* Chinese, Japanese and Korean are not parted into words: one alternation finds the signs anywhere, mathematical
  symbols beyond Latin-1 included.
"""

# ruff: noqa: RUF001  (the letters and symbols of other scripts are meant)
from __future__ import annotations

import re
from collections.abc import Iterator

INSTRUCTIONS, CODE, MATHEMATICS, CONSTRAINTS = range(4)
QUESTION_MARKS = ("？", "؟")
"""Those beyond ASCII: fullwidth and Arabic."""
STEM = 5
"""Letters by which the words of inflecting scripts are compared."""
FIRST_SPACED = "\u0400"
"""The first letter of Cyrillic; Arabic and Devanagari come after it."""

Table = dict[int, dict[float, str]]

# An underscore joins the words of a phrase.
LATIN: Table = {
    INSTRUCTIONS: {
        3.0: "prove disprove beweise beweisen démontre démontrez démontrer prouve prouvez demuestra demuestre "
        "demostrar demonstre demonstrar",
        2.0: "derive architect formalize formalise herleiten dérive dériver deduce deduzca deduza "
        "design designing entwirf entwerfe entwerfen conçois concevez concevoir diseña diseñe diseñar projete projetar",
        1.5: "analyze analyse analyzing analysis optimize optimise critique debug refactor investigate trade_off "
        "trade_offs tradeoffs step_by_step in_detail in_depth root_cause end_to_end edge_cases failure_modes "
        "counterexample thoroughly comprehensive rigorous rigorously "
        "analysiere analysieren untersuche optimiere schritt_für_schritt schrittweise im_detail ausführlich begründe "
        "analysez analyser optimise optimisez étape_par_étape pas_à_pas en_détail "
        "analiza analice analizar optimiza paso_a_paso en_detalle detalladamente analise analisar otimize "
        "passo_a_passo em_detalhe em_detalhes detalhadamente",
        1.2: "compare comparing contrast evaluate assess justify implement synthesize propose vergleiche vergleichen "
        "bewerte bewerten implementiere comparez comparer évalue évaluez évaluer justifie justifiez implémente "
        "implémentez compara comparar evalúa evalúe justifica justifique implementa implemente avalie avaliar",
        1.0: "discuss argue strategy simulate formulate detailed explaining diskutiere entwickle discute discutez "
        "desarrolla desarrolle desenvolva discuta",
        0.7: "explain solve plan develop reasoning summarize summarise outline implications consequences "
        "erkläre erklären erläutere löse beschreibe explique expliquez expliquer résous décris explica explicar "
        "resuelve describe descreva resolva",
        0.5: "why warum pourquoi porqué por_qué por_que difference differences unterschied unterschiede différence "
        "différences diferencia diferencias diferença diferenças calculate berechne calcule calcula",
        0.3: "write rewrite draft compose create generate improve schreibe erstelle écris rédige escribe redacta "
        "escreva",
    },
    CODE: {
        1.5: "def const async await struct mutex lambda stacktrace traceback segfault deadlock race_condition "
        "asyncio goroutine kubernetes",
        1.0: "python javascript typescript java rust golang kotlin haskell sql regex algorithm algorithms api compiler "
        "concurrency concurrent thread threads multithreaded database databases microservice microservices "
        "distributed backend frontend cache schema postgres redis docker parser unit_tests time_complexity "
        "algorithmus datenbank algorithme base_de_données algoritmo base_de_datos banco_de_dados parallel",
        0.5: "code function class import return script program bug query endpoint server client loop array string "
        "latency throughput scalable funktion programm fonction programme función programa función código função",
    },
    MATHEMATICS: {
        1.2: "theorem lemma corollary eigenvalue eigenvalues polynomial irrational integral derivative asymptotic "
        "converges convergence differential topology manifold homomorphism bijection "
        "théorème intégrale irrationnel dérivée teorema irracional derivada ableitung",
        1.0: "proof induction equation equations matrix probability infinitely modulo primes gradient variance "
        "bayesian logarithm quadratic calculus geometry recurrence "
        "gleichung primzahlen wahrscheinlichkeit équation matrice probabilité récurrence ecuación matriz probabilidad "
        "equação probabilidade indução inducción",
        0.5: "prime integer integers sum formula sequence finite infinite square_root vertices graph",
    },
    CONSTRAINTS: {
        1.0: "must exactly at_most at_least no_more_than no_fewer_than constraint constraints requirements required "
        "shall json do_not cannot mandatory "
        "muss müssen genau höchstens mindestens nicht_mehr_als "
        "doit doivent exactement au_plus au_moins debe deben exactamente como_máximo al_menos a_lo_sumo "
        "deve devem exatamente no_máximo pelo_menos",
        0.5: "without only ensure avoid never unless support supports handle guarantee guarantees within under_the "
        "ohne nur sans uniquement sin únicamente sem apenas",
    },
}

SPACED: Table = {
    INSTRUCTIONS: {
        3.0: "докаж доказ أثبت اثبت برهن साबित सिद्ध",
        2.0: "вывед спрое проек صمم صمّم تصميم اشتق استنت डिज़ाइ डिजाइ",
        1.5: "проан анали пошаг обосн оптим разра حلل حلّل تحليل विश्ल",
        1.2: "сравн оцени оценк реали قارن مقارن तुलना",
        1.0: "подро шагом обсуд деталь بالتف ناقش علل بخطو خطوة चरण विस्त चर्चा व्याख",
        0.7: "объяс решит опиши اشرح شرح समझाइ समझाए",
        0.5: "почем зачем разни لماذا الفرق क्यों अंतर",
        0.3: "напиш созда اكتب लिखिए लिखें",
    },
    CODE: {
        1.0: "алгор прогр код кода коде خوارز كود एल्गो कोड",
        0.5: "функц класс برنام دالة प्रोग फ़ंक् फंक्श",
    },
    MATHEMATICS: {
        1.2: "теоре иррац интег مبرهن تكامل प्रमेय अपरिम समाकल",
        1.0: "уравн матри вероя индук معادل مصفوف احتما समीकर अभाज्",
    },
    CONSTRAINTS: {
        1.0: "долже должн ровно огран требо обяза يجب بالضب الأكث الأقل يتجاو تتجاو अवश्य अधिकत न्यून",
        0.7: "более менее بدون बिना चाहिए",
        0.5: "только دون فقط केवल",
    },
}

UNSPACED: Table = {
    INSTRUCTIONS: {
        3.0: "证明 證明 証明 증명",
        2.0: "推导 推導 論證 论证 导出 導出 设计 設計 설계 유도",
        1.5: "分析 逐步 一步一步 分步 优化 優化 权衡 權衡 段階的 最適化 トレードオフ 분석 단계별 최적화",
        1.2: "比较 比較 对比 對比 评估 評估 評価 实现 實現 実装 考察 비교 평가 구현",
        1.0: "详细 詳細 详尽 深入 讨论 討論 詳しく ステップ 議論 자세히 상세 논의",
        0.7: "解释 解釋 说明 說明 説明 总结 總結 설명",
        0.5: "为什么 為什麼 理由 なぜ 이유 区别 區別 違い 차이",
        0.3: "写一 撰写 書いて 작성",
    },
    CODE: {
        1.0: "代码 代碼 算法 编程 程序 数据库 并发 线程 分布式 コード アルゴリズム プログラム データベース 並行 "
        "알고리즘 코드 프로그램 데이터베이스 분산",
        0.5: "函数 函數 接口 関数 함수",
    },
    MATHEMATICS: {
        1.2: "定理 积分 積分 无理数 無理数 收敛 微分 적분 미분 무리수",
        1.0: "方程 矩阵 行列 概率 確率 素数 质数 归纳法 帰納法 导数 几何 방정식 행렬 확률 소수 귀납법",
        0.5: "∑ ∏ ∫ √ ∞ ∂ ∇ ∀ ∃ ∈ ∉ ⊂ ⊆ ∪ ∩ ≤ ≥ ≠ ≈ ≡ → ⇒ ⇔ ∧ ∨ π θ λ Σ ℝ ℤ ℕ",
    },
    CONSTRAINTS: {
        1.0: "必须 必須 不得 不能 不超过 不超過 以内 至少 至多 最多 恰好 要求 约束 約束 制約 必ず 使わず せずに "
        "なければならない 반드시 이내 이하 정확히 제약 최대 최소",
        0.7: "不要 限制 条件 없이 조건",
        0.5: "仅 只能",
    },
}


def _entries(table: Table) -> Iterator[tuple[str, int, float]]:
    for feature, lines in table.items():
        for strength, words in lines.items():
            for word in words.split():
                yield word, feature, strength


Phrase = tuple[bytes, int, float]


def _latin() -> dict[bytes, tuple[int, float, tuple[Phrase, ...]]]:
    """Map words to what they tell by themselves, 0 if nothing, and the phrases that may stand around them.

    A phrase is told by its longest word, and is yet to be found in the text.
    """
    words: dict[bytes, tuple[int, float, tuple[Phrase, ...]]] = {}
    for entry, feature, strength in _entries(LATIN):
        parts = entry.encode("latin-1").split(b"_")
        word = max(parts, key=len)
        own, own_strength, phrases = words.get(word, (feature, 0.0, ()))
        if len(parts) == 1:
            words[word] = (feature, strength, phrases)
        else:
            words[word] = (own, own_strength, (*phrases, (b" %b " % b" ".join(parts), feature, strength)))
    return words


def _spaced() -> dict[str, tuple[int, float]]:
    return {
        form: (feature, strength)
        for stem, feature, strength in _entries(SPACED)
        for form in (stem[:STEM], stem[:STEM].capitalize())
    }


LATIN_WORDS = _latin()
LATIN_KEYS = frozenset(LATIN_WORDS)
STEMS = _spaced()
STEM_KEYS = frozenset(STEMS)
SIGNS = {sign: (feature, strength) for sign, feature, strength in _entries(UNSPACED)}
# Every alternative begins with a literal, so that the search skips at once to the characters that can begin one.
SIGN_PATTERN = re.compile("|".join(sorted(map(re.escape, SIGNS), key=len, reverse=True)))


def _plain_table() -> bytes:
    """Lower the case of Latin-1 letters, keep digits, and turn the rest into blanks."""
    characters = map(chr, range(256))
    return "".join(char.lower() if char.isalpha() or char in "0123456789" else " " for char in characters).encode(
        "latin-1"
    )


PLAIN = _plain_table()
CODE_SYMBOLS = b"{}[]<>=;_|&#@~`"
MATHEMATICAL_SYMBOLS = b"^=+*\\\xb1\xb2\xb3\xd7\xf7"


def _all_but(kept: bytes) -> bytes:
    return bytes(code for code in range(256) if code not in kept)


NOT_SIGNS = _all_but(CODE_SYMBOLS + MATHEMATICAL_SYMBOLS + b"?\n")
"""All but symbols, question marks and ends of lines: what is left of a text is short, and counted fast."""
NOT_CODE = _all_but(CODE_SYMBOLS)
NOT_MATHEMATICAL = _all_but(MATHEMATICAL_SYMBOLS)
LIST_ITEM = re.compile(rb"\n[ \t]{0,8}(?:\d{1,3}[.)]|[-*])[ \t]")
