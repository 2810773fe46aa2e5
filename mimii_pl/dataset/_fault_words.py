"""Words that suggest a fault, in several languages: a folder named so is asked about, never learned as healthy."""

FAULT_STEMS = (  # beginnings of words, without accents
    *("abnorm", "anomal", "broke", "clog", "corro", "crack", "damag", "defect", "fail", "fault", "imbalanc", "jammed"),
    *("leak", "loose", "malfunction", "misalign", "overheat", "rattl", "reject", "scrap", "scratch", "trouble"),
    *("unbalanc", "unhealth", "ausfall", "ausgefallen", "ausschuss", "beschadig", "beschaedig", "defekt", "fehler"),
    *("gebrochen", "gestort", "gestoert", "gerissen", "kaputt", "krank", "leck", "schaden", "schadhaft", "schlecht"),
    *("storung", "stoerung", "undicht", "unwucht", "verschliss", "verschleiss", "abime", "casse", "defaillan"),
    *("defaut", "defectue", "endommag", "fissur", "fuite", "mauvais", "panne", "rebut", "averia", "danad", "defecto"),
    *("fallo", "grieta", "danneggi", "difett", "guasto", "guasti", "scarto", "avaria", "defeito", "estragad"),
    *("falha", "quebrad", "beschadigd", "kapot", "storing", "fejl", "trasig", "skadad", "skadet", "awari", "usterk"),
    *("uszkodz", "wadliw", "zepsut", "porouch", "poruch", "poskozen", "bozuk", "hatali", "kusur"),
    *("авари", "брак", "дефект", "неисправ", "поврежд", "полом", "слома"),
)
WHOLE_WORDS = (  # those that begin others, or are short
    *("alarm", "bad", "bent", "chipped", "err", "error", "ko", "ng", "nio", "nok", "rust", "rusty", "sick", "wear"),
    *("worn", "wrong", "bruch", "riss", "fuga", "malade", "malo", "rota", "roto", "rotta", "rotto", "feil", "fel"),
    *("lek", "stuk", "ariza", "vada"),
)
CJK_WORDS = (  # of languages that put no blanks between words
    *(
        "异常",
        "異常",
        "故障",
        "不良",
        "缺陷",
        "欠陥",
        "损坏",
        "破损",
        "破損",
        "坏",
        "불량",
        "고장",
        "이상",
        "결함",
        "손상",
    ),
)
