"""Mandarin lines that read like lyrics: templates over word classes, filled from word lists.

Words that espeak-ng reads wrongly (the syllables jiong, qiong, xiong) are left out.
"""

import functools
import random

from songbloom.synth.words import held_out

_LISTS = {
    "N": """
月亮 太阳 星星 星空 天空 大海 海洋 海浪 浪花 沙滩 河流 小河 溪水 湖水 泉水 雨水 雨滴 雪花 白云 乌云
彩虹 闪电 雷声 微风 春风 秋风 北风 晚风 清风 风沙 阳光 月光 星光 灯光 火光 目光 时光 晨光 黎明 清晨
黄昏 夜晚 夜色 春天 夏天 秋天 冬天 花园 花朵 花瓣 玫瑰 百合 荷花 梅花 桃花 菊花 茉莉 牡丹 青草 草原
森林 树林 树叶 树枝 落叶 枫叶 竹林 松树 柳树 田野 麦田 稻田 果园 山谷 山坡 高山 雪山 山顶 山路 小路
大路 道路 公路 铁路 街道 小巷 城市 城墙 乡村 村庄 故乡 家乡 远方 天涯 海角 港湾 码头 灯塔 帆船 小船
轮船 火车 汽车 飞机 单车 马车 车站 机场 车票 行李 地图 桥梁 石桥 房子 屋顶 窗户 窗台 大门 院子 楼梯
房间 厨房 教室 学校 图书 课本 书本 书页 诗歌 歌声 歌曲 旋律 琴声 钢琴 吉他 笛子 小号 鼓声 钟声 笑声
脚步 舞步 舞台 电影 故事 童话 传说 秘密 谜语 答案 问题 梦想 梦境 美梦 愿望 希望 理想 誓言 诺言 谎言
语言 名字 姓名 日记 书信 明信片 信封 邮票 照片 相册 画面 油画 颜色 影子 背影 倒影 身影 镜子 眼睛
眼泪 泪水 泪光 笑容 微笑 脸庞 嘴唇 头发 肩膀 手掌 手心 双手 指尖 怀抱 心脏 心跳 心事 心灵 灵魂 记忆
回忆 思念 想念 孤独 寂寞 悲伤 忧伤 快乐 幸福 爱情 友情 亲情 温柔 勇气 力量 自由 命运 青春 童年 少年
岁月 年华 世界 地球 宇宙 银河 火箭 气球 风筝 蝴蝶 蜻蜓 蜜蜂 小鸟 燕子 麻雀 老鹰 白鸽 海鸥 天鹅 孔雀
白马 骏马 小狗 小猫 兔子 松鼠 狐狸 狮子 老虎 大象 鲸鱼 海豚 金鱼 鱼群 羊群 牧羊人 牧场 朋友 老友
爱人 情人 恋人 亲人 母亲 父亲 妈妈 爸爸 爷爷 奶奶 姐姐 妹妹 哥哥 弟弟 孩子 姑娘 老师 同学 医生 歌手
诗人 画家 旅人 行人 陌生人 水手 战士 国王 公主 王子 天使 咖啡 茶杯 酒杯 美酒 牛奶 面包 蛋糕 糖果
苹果 葡萄 西瓜 橘子 香蕉 柠檬 樱桃 米饭 早餐 晚餐 外套 毛衣 雨伞 帽子 围巾 手套 鞋子 口袋 书包 钥匙
门锁 钟表 手表 时钟 日历 蜡烛 火柴 篝火 火焰 烟火 炉火 灯笼 路灯 霓虹 广场 公园 商店 市场 工厂 剧院
医院 宫殿 城堡 寺庙 古塔 井水 瀑布 沙漠 绿洲 骆驼 冰川 极光 流星 彗星 北极星 石头 沙子 泥土 种子
果实 年轮 琥珀 珍珠 钻石 黄金 白银 铜镜 玉石 丝绸 棉花 羽毛 翅膀 尾巴 脚印 足迹 车轮 船帆 船桨 铁轨
隧道 站台 电话 电台 收音机 唱片 磁带 信号 频道 屏幕 键盘
""",
    "V": """
看见 听见 遇见 梦见 想起 忘记 记得 想念 思念 怀念 相信 期待 等待 寻找 追逐 追赶 跟随 陪伴 拥抱 亲吻
抚摸 握住 抓住 放下 放开 离开 告别 送走 迎接 欢迎 点亮 照亮 照着 打开 关上 推开 敲响 唱着 唱出 写下
写着 画出 画着 读懂 听懂 看懂 明白 理解 原谅 感谢 祝福 守护 保护 珍惜 收藏 藏起 带走 带来 留下 留住
挽留 丢掉 失去 得到 拥有 需要 想要 渴望 热爱 喜欢 爱上 爱着 惊醒 叫醒 唤醒 吹动 吹过 飞过 穿过 走过
路过 越过 翻过 渡过 跨过 绕过 游过 踏上 登上 爬上 坐上 回到 来到 走向 奔向 飞向 流向 面对 望着 看着
听着 数着 问着 摇动 弹起 修补 建造 种下 收获 燃烧 融化 打破 改变 描写 歌颂 呼唤 呼喊
""",
    "I": """
歌唱 唱歌 跳舞 飞翔 流浪 漂泊 旅行 奔跑 散步 微笑 哭泣 流泪 沉默 叹息 呼吸 做梦 睡去 醒来 醒着 等待
徘徊 停留 停下 出发 启程 回家 归来 回来 离去 远去 老去 长大 成长 发光 闪烁 燃烧 盛开 开放 绽放 凋谢
飘落 坠落 落下 升起 消失 出现 相遇 相爱 相逢 重逢 分手 分别 告别 迷路 转身 回头 低头 抬头 挥手 牵手
拥抱 歌舞 游泳 航行 飞走 飞来 归航 摇摆 旋转 颤抖 发呆 沉睡 静坐 祈祷 许愿 说话 歌吟
""",
    "A": """
美丽 安静 宁静 平静 寂静 温暖 温柔 明亮 闪亮 灿烂 金色 银色 白色 黑色 红色 蓝色 绿色 紫色 灰色 粉色
透明 彩色 古老 年轻 年老 遥远 漫长 短暂 永远 永恒 新鲜 清新 清澈 纯洁 纯真 天真 善良 勇敢 坚强 骄傲
谦虚 自由 孤单 孤独 寂寞 悲伤 忧伤 快乐 欢乐 幸福 甜蜜 苦涩 酸甜 冰冷 寒冷 火热 炎热 滚烫 潮湿 干净
柔软 坚硬 轻盈 沉重 巨大 小小 高高 弯弯 长长 淡淡 深深 浅浅 暗暗 静静 蓝蓝 绿绿 圆圆 细细 神秘 陌生
熟悉 平凡 普通 伟大 真实 真诚 虚假 破碎 完整 疯狂 疲惫 慵懒 忙碌 悠闲 无声 无边 无尽 无名 失落 褪色
发黄 迷人 动人 醉人
""",
    "R": """
慢慢 轻轻 悄悄 静静 默默 渐渐 深深 缓缓 紧紧 远远 偷偷 匆匆 常常 永远 仍然 依然 依旧 已经 终于 忽然
突然 偶尔 总是 也许 或许 一直 一起 再次 再也 从此 从前 独自 一同 不停 不断 努力 勇敢 温柔 安静 大声
小声 认真 用力
""",
    "T": """
今天 明天 昨天 今夜 昨夜 今晚 明早 清晨 早晨 上午 中午 下午 黄昏 傍晚 深夜 午夜 黎明 夜里 梦里 春天
夏天 秋天 冬天 那天 那年 那夜 这一刻 那一刻 那一年 每一天 每一夜 有一天 多年后 雨天 雪天 晴天 周末
假期 四月 五月 六月 七月 八月 九月 十月
""",
    "L": """
北京 上海 南京 西安 杭州 苏州 广州 成都 昆明 桂林 厦门 青岛 大连 天津 武汉 长沙 敦煌 拉萨 香港 台北
洛阳 开封 扬州 黄河 长江 泰山 黄山 西湖 草原 江南 塞北 东方 西方 南方 北方
""",
}
_CLOSED = {
    "S": "我 你 他 她 我们 你们 他们 谁",
    "B": "我 你 他 她 我们 你们 它",
    "J": "我的 你的 他的 她的 我们的 谁的",
    "U": "一片 一朵 一首 一个 这个 那个 每个 两个 三个 千万个 这片 那片 所有 许多",
    "O": "想 要 会 能 愿意 可以 应该 不会 不能 不想 不要 还要 只想",
    "F": "里 上 下 外 旁 中 前 后",
    "W": "当 如果 因为 虽然 直到 自从 只要 就算",
    "C": "啊 哦 嘿 啦",
}
_TEMPLATES = tuple(
    line.split()
    for line in """
S V A 的 N
S O V 那 N
S R V J N
A 的 N R I
J N R I
T S V N
T S R I
T 的 N R I
S 在 N F I
S 在 L 等 B
N 和 N 一起 I
N F 有 U N
U N R I
U A 的 N
W S V N
W N I
S 是 B 的 N
S 不 是 A 的 N
让 S V N
让 N V B
请 你 V J N
V N V N
V B V N
A 的 N A 的 N
谁 V J N
谁 在 N F I
为什么 N 会 I
S 从 L 来
S 和 B 去 L
L 的 N I
别 再 V J N
没有 N 的 T
只有 N V B
N 像 A 的 N
N 是 J N
J N 是 A 的
C S V N
一次 又 一次 V N
一天 一天 R I
S 说 N 会 I
把 N 送给 B
给 B A 的 N
S O 为 B I
像 N 一样 I
T 有 A 的 N
从 T 到 T
从 L 到 L
I 吧 J N
I 吧 A 的 N
不 怕 A 的 N
N 啊 N R I
""".strip().splitlines()
)
_LENGTHS = range(5, 11)  # characters of a line


@functools.cache
def classes() -> dict[str, tuple[str, ...]]:
    """Word class -> its words, sorted: N nouns, V verbs with an object, I without, A adjectives,
    R adverbs, T times, L places."""
    return {key: tuple(sorted(set(words.split()))) for key, words in _LISTS.items()}


def closed_words() -> set[str]:
    """Every word a line may hold that is not of an open class: seen in both splits."""
    fixed = {item for line in _TEMPLATES for item in line if not item.isascii()}
    return fixed.union(*(words.split() for words in _CLOSED.values()))


def write_line(rng: random.Random, *, unseen_share: float = 0.0) -> tuple[str, ...]:
    """One line as words, 5-10 characters in all. `unseen_share` of its content words come from the
    held-out list."""
    while True:
        words = tuple(_fill(rng, item, unseen_share) for item in rng.choice(_TEMPLATES))
        if sum(map(len, words)) in _LENGTHS:
            return words


def _fill(rng: random.Random, item: str, unseen_share: float) -> str:
    if item in _LISTS:
        return rng.choice(_pool(item, rng.random() < unseen_share))
    return rng.choice(_CLOSED[item].split()) if item in _CLOSED else item


@functools.cache
def _pool(key: str, unseen: bool) -> tuple[str, ...]:
    return tuple(word for word in classes()[key] if held_out(word) == unseen)
