"""The texts behind every golden: queries and passages written for this project, and the odd inputs real traffic brings.

Facts in them are meant to be plausible, not to be relied on. Knows nothing of tokenizers or models.
"""

import json
import pathlib

# (a question, a keyword query, two passages that answer them); `maitred bench` makes its text of the same topics.
TOPICS_FILE = pathlib.Path(__file__).parent.parent.parent / "host/src/bench/corpus/topics.jsonl"
TOPICS = [
    (topic["question"], topic["keywords"], *topic["passages"])
    for topic in map(json.loads, TOPICS_FILE.read_text(encoding="utf-8").splitlines())
]

# (language, query, the passage that answers it, one that does not)
LANGUAGES = [
    ("Chinese", "如何泡一杯好绿茶", "泡绿茶的水温不宜太高，八十度左右最好。先用热水温杯，放入三克茶叶，倒水至三分之一，轻轻摇动，等茶叶舒展后再加满。第一泡一分钟即可饮用。", "长城东起山海关，西至嘉峪关，全长两万多公里。现存的城墙大多修建于明代，用砖石和夯土筑成。"),
    ("Japanese", "東京から京都まで新幹線で何時間かかりますか", "東京駅から京都駅までは、のぞみ号で約二時間十五分です。ひかり号なら二時間四十分ほどかかります。指定席は一か月前から予約できます。", "味噌汁は、だしをとった鍋に豆腐とわかめを入れ、火を止めてから味噌を溶きます。煮立てると香りが飛んでしまいます。"),
    ("Korean", "김치를 맛있게 담그는 방법", "배추를 소금물에 여덟 시간 절인 뒤 깨끗이 씻어 물기를 뺍니다. 고춧가루, 마늘, 생강, 젓갈을 섞은 양념을 잎 사이에 바르고, 이틀쯤 실온에 두었다가 냉장고에 넣습니다.", "서울의 지하철은 아홉 개의 주요 노선으로 이루어져 있으며, 하루에 칠백만 명이 넘는 승객이 이용합니다."),
    ("Arabic", "ما هي فوائد زيت الزيتون", "زيت الزيتون البكر غني بالدهون غير المشبعة ومضادات الأكسدة، ويساعد على خفض الكوليسترول الضار وحماية القلب إذا استُعمل بدل الزبدة.", "تقع مدينة البتراء في جنوب الأردن، وقد نحتها الأنباط في الصخر الوردي قبل أكثر من ألفي عام."),
    ("Hindi", "भारत की राजधानी क्या है", "भारत की राजधानी नई दिल्ली है। यहाँ संसद भवन, राष्ट्रपति भवन और सर्वोच्च न्यायालय स्थित हैं। शहर की योजना सन् 1911 के बाद बनाई गई थी।", "आम को फलों का राजा कहा जाता है। गर्मियों में पेड़ पर पके आम सबसे मीठे होते हैं।"),
    ("Russian", "почему небо голубое", "Солнечный свет рассеивается на молекулах воздуха. Короткие волны, то есть синие, рассеиваются гораздо сильнее длинных, поэтому днём небо кажется нам голубым, а на закате красным.", "Транссибирская магистраль соединяет Москву и Владивосток. Поезд проходит девять тысяч километров за шесть суток."),
    ("Greek", "πότε χτίστηκε ο Παρθενώνας", "Ο Παρθενώνας χτίστηκε ανάμεσα στο 447 και το 432 π.Χ. στην Ακρόπολη της Αθήνας, με αρχιτέκτονες τον Ικτίνο και τον Καλλικράτη.", "Η φέτα φτιάχνεται από πρόβειο γάλα, ή από μείγμα με κατσικίσιο, και ωριμάζει δύο μήνες στην άλμη."),
    ("Thai", "วิธีทำข้าวผัด", "ใช้ข้าวสวยที่เย็นแล้ว ผัดกระเทียมกับน้ำมันให้หอม ใส่ไข่ ใส่ข้าว ปรุงด้วยน้ำปลาและซีอิ๊วขาว แล้วโรยต้นหอม", "ช้างเป็นสัตว์ประจำชาติของไทย และอาศัยอยู่ในป่าทางภาคเหนือและภาคตะวันตก"),
    ("Hebrew", "איך מכינים חומוס", "משרים את גרגירי החומוס לילה שלם, מבשלים עד שהם רכים מאוד, וטוחנים עם טחינה, לימון, שום ומעט מים קרים.", "ים המלח הוא המקום הנמוך ביותר ביבשה, יותר מארבע מאות מטרים מתחת לפני הים."),
    ("Bengali", "পদ্মা নদী কোথায়", "পদ্মা বাংলাদেশের প্রধান নদী। গঙ্গা নদী রাজশাহী জেলা দিয়ে বাংলাদেশে ঢুকে পদ্মা নাম নেয়।", "ইলিশ মাছ সরিষা দিয়ে রান্না করলে খুব সুস্বাদু হয়।"),
    ("Tamil", "தஞ்சை பெரிய கோவிலை கட்டியவர் யார்", "தஞ்சைப் பெரிய கோவில் முதலாம் இராசராச சோழனால் கி.பி. 1010 ஆம் ஆண்டில் கட்டி முடிக்கப்பட்டது.", "இட்லி மாவு அரைத்து ஒரு இரவு புளிக்க வைக்க வேண்டும்."),
    ("Georgian", "რა არის საქართველოს დედაქალაქი", "საქართველოს დედაქალაქია თბილისი. ქალაქი მდინარე მტკვრის ორივე ნაპირზე მდებარეობს.", "ხაჭაპური ცხობენ ყველით და ცომით."),
    ("Ukrainian", "скільки областей в Україні", "Україна поділена на двадцять чотири області, одну автономну республіку та два міста зі спеціальним статусом.", "Борщ варять із буряка, капусти, картоплі та м'яса."),
    ("German", "wie hoch ist die Zugspitze", "Die Zugspitze ist mit 2962 Metern der höchste Berg Deutschlands. Eine Zahnradbahn und zwei Seilbahnen führen hinauf; zu Fuß braucht man durch das Höllental acht Stunden.", "Die Straßenbahn der Linie 5 fährt werktags alle zehn Minuten, sonntags alle zwanzig."),
    ("French", "quelle est la recette de la pâte à crêpes", "Mélangez deux cent cinquante grammes de farine, trois œufs et un demi-litre de lait, ajoutez une pincée de sel, puis laissez reposer la pâte une heure avant de la cuire à feu vif.", "Le château de Chambord compte quatre cent vingt-six pièces et un escalier à double révolution."),
    ("Spanish", "¿cuál es el río más largo de España?", "El Tajo es el río más largo de la península ibérica: recorre más de mil kilómetros desde la sierra de Albarracín hasta Lisboa. El Ebro es el más largo que discurre solo por España.", "La tortilla lleva patatas, huevos, aceite y, según quien la haga, cebolla."),
    ("Vietnamese", "cách nấu phở bò", "Ninh xương bò với gừng và hành nướng trong nhiều giờ, thêm hồi, quế, thảo quả, rồi chan nước dùng nóng lên bánh phở và thịt bò thái mỏng.", "Vịnh Hạ Long có gần hai nghìn hòn đảo đá vôi."),
    ("Turkish", "İstanbul Boğazı kaç kilometre", "İstanbul Boğazı yaklaşık otuz kilometre uzunluğundadır ve Karadeniz'i Marmara Denizi'ne bağlar. En dar yeri yedi yüz metredir.", "Türk kahvesi cezvede, kısık ateşte, köpüğü taşırılmadan pişirilir."),
]

# (query, document): what breaks parsers, not people
ODD = [
    ("what is an empty document", ""),
    ("", "A document without a query still gets a score."),
    ("", ""),
    (" ", "   "),
    ("two   spaces    between\twords\n\nand lines", "Runs   of\t\tblanks,\r\ntabs and\n\n\nline breaks    count as one   break."),
    ("control characters", "A bell\u0007, a null\u0000 character, an escape\u001b[31m and a delete\u007f hide in this line\u0085 of text."),
    ("zero width characters", "zero\u200bwidth space, a soft\u00adhyphen, a word\u2060joiner, and a byte order mark\ufeff inside"),
    ("right to left marks", "\u202eabc\u202c and \u200fמימין\u200e to left"),
    ("replacement character \ufffd", "broken \ufffd\ufffd encoding"),
    ("?!", "... --- ... !!! ??? ;;; ((( ))) [[[ ]]] {{{ }}}"),
    ("punctuation-only", "\u2026\u2014\u2013\u00ab\u00bb\u201e\u201c\u2018\u2019\u00bf\u00a1\u3001\u3002\uff01\uff1f"),
    ("family emoji", "The picture shows 👨‍👩‍👧‍👦 at the beach, then 🏳️‍🌈 and 👩🏽‍🚀 with 🇯🇵🇧🇷 flags."),
    ("👩‍💻 working from home", "Tips for 👩‍💻👨🏿‍💻: a good chair 🪑, daylight ☀️, and a door that shuts 🚪."),
    ("😀", "😀😃😄😁😆😅🤣😂🙂🙃"),
    ("longest word", "a" * 100),
    ("longest word", "a" * 101),
    ("a word of a hundred and fifty letters", "The word " + "donaudampfschifffahrt" * 7 + " is too long for the vocabulary, the next is not."),
    ("long url", "https://shop.example/catalogue/" + "very-long-path-segment/" * 8 + "?sort=price&page=12#top"),
    ("base64 blob", "bWFpdHJlZA" * 30),
    ("cafe\u0301 re\u0301sume\u0301", "Cafe\u0301s accept a re\u0301sume\u0301 on paper; na\u00efve co\u00f6peration with an A\u030angstro\u0308m."),
    ("café résumé", "Cafés accept a résumé on paper; naïve coöperation with an Ångström."),
    ("stacked accents", "z\u0335\u0321\u0322\u031a\u0308a\u0334\u0300\u0301\u0302l\u0338\u0323g\u0337\u0304o\u0336\u0315 is a text with many marks"),
    ("İstanbul ǅungla ﬁne ﬂoor", "Title case ǅ, ligatures ﬁ ﬂ ﬀ, dotless ı, sharp ß and ẞ, long ſ, final ς and Σ."),
    ("ＦＵＬＬＷＩＤＴＨ text", "Ｆｕｌｌｗｉｄｔｈ letters, ㎏ and ㏒, circled ① ② ③, half ½, superscript x² and subscript H₂O."),
    ("html page title", "<html><head><title>Opening hours</title></head><body><p class=\"big\">Mon&ndash;Fri 9&nbsp;&ndash;&nbsp;17</p><!-- closed on Sundays --><script>var x = 1 < 2;</script></body></html>"),
    ("read a file in rust", "let text = std::fs::read_to_string(path)?;\nfor (number, line) in text.lines().enumerate() {\n    println!(\"{number:>4} {line}\");\n}"),
    ("python list comprehension", "squares = [n * n for n in range(10) if n % 2 == 0]  # 0, 4, 16, 36, 64"),
    ("sql join orders customers", "SELECT c.name, SUM(o.total) AS total FROM customers c LEFT JOIN orders o ON o.customer_id = c.id GROUP BY c.name HAVING SUM(o.total) > 100;"),
    ("json with nulls", "{\"id\": null, \"tags\": [], \"price\": -0.0, \"note\": \"\\u0000\", \"nested\": {\"a\": {\"b\": {}}}}"),
    ("null", "null"),
    ("None", "NaN undefined nil NULL None N/A -"),
    ("3.14159", "3.14159265358979323846264338327950288419716939937510582097494459"),
    ("invoice 2024-0017", "Invoice no. 2024-0017, 12 x 3.49 = 41.88 EUR, VAT 19 % = 7.96, due 2024-03-31, IBAN DE00 0000 0000 0000 0000 00"),
    ("[CLS] special tokens [SEP] in text", "A [MASK] in the text, an [UNK], a [PAD], and </s> <s> <pad> of another family [SEP] stay what they are."),
    ("[sep]", "lower case [cls] and [sep] are words"),
    ("a\\b", "C:\\Users\\Public\\notes.txt and \\\\server\\share, regex ^\\d{3}-\\w+$"),
    ("$x^2 + y^2 = r^2$", "\\frac{a}{b} \\leq \\sum_{i=1}^{n} x_i \\approx \\int_0^1 f(t)\\,dt, ∀ε>0 ∃δ>0: |x−a|<δ ⇒ |f(x)−f(a)|<ε"),
    ("the the the the the the", "the " * 40),
    ("UPPER CASE QUERY ABOUT TIDES", "TIDES ARE RAISED CHIEFLY BY THE MOON AND LESS BY THE SUN."),
    ("x", "y"),
    ("don't can't won't", "It's the dogs' owner's mother-in-law's well-known, state-of-the-art rock'n'roll."),
    ("𝔣𝔞𝔫𝔠𝔶 𝓁𝑒𝓉𝓉𝑒𝓇𝓈", "𝐁𝐨𝐥𝐝 𝑖𝑡𝑎𝑙𝑖𝑐 𝕕𝕠𝕦𝕓𝕝𝕖 letters from beyond the basic plane, and 𠀀𠮷 ideographs"),
    ("mixed 中文 and English query", "The sign said 出口 (exit), the second エレベーター, the third 화장실."),
]


def long_text(first, count):
    """A readable text of `count` passages, beginning with topic `first`; eight passages pass 512 tokens."""
    passages = [passage for _, _, *passages in TOPICS for passage in passages]
    return " ".join(passages[(2 * first + step) % len(passages)] for step in range(count))


def topic_pairs():
    """Each query with its passages, with a neighbour's (irrelevant) and with one from afar."""
    pairs = []
    for number, (question, keywords, *passages) in enumerate(TOPICS):
        far = TOPICS[(number + 11) % len(TOPICS)]
        for query in (question, keywords):
            pairs += [(query, passage) for passage in passages]
        pairs.append((question, far[2]))
    return pairs


def language_pairs():
    """Each query with the right and the wrong passage."""
    return [(query, passage) for _, query, *passages in LANGUAGES for passage in passages]


def long_pairs():
    """Beyond 512 tokens on one side, on the other, and on both."""
    chinese, japanese, russian, hindi = (
        (query, (right + wrong) * 5) for language, query, right, wrong in LANGUAGES if language in ("Chinese", "Japanese", "Russian", "Hindi")
    )
    return [
        (TOPICS[0][0], long_text(0, 8)),
        (TOPICS[5][0], long_text(2, 10)),
        (TOPICS[12][0], long_text(20, 9)),
        (long_text(9, 2), long_text(9, 8)),
        (long_text(3, 8), TOPICS[3][2]),
        (long_text(14, 8), "short"),
        (long_text(7, 6), long_text(16, 6)),
        (long_text(21, 4), long_text(1, 4)),
        chinese,
        japanese,
        russian,
        hindi,
    ]


def all_pairs():
    return topic_pairs() + language_pairs() + long_pairs() + ODD
