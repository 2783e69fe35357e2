"""The style sheet: one column on a phone, a grid on a desk; light and dark as the reader's system is."""

STYLE = """
:root{color-scheme:light dark;--paper:#f6f7f8;--card:#fff;--ink:#16191d;--soft:#5d6772;--faint:#8b96a1;--rule:#e1e5e9;
--head:#eef1f4;--accent:#0b62a8;--good:#0a7d55;--bad:#b3261e;--warn:#8a5a00;--warnbg:#fff4d6;
--c0:#0072b2;--c1:#c24e00;--c2:#007a5a;--c3:#a03c91;--c4:#7a6a00;--c5:#3a7fb5;--c6:#c1303c;--c7:#5f6b76}
@media(prefers-color-scheme:dark){:root{--paper:#0f1215;--card:#171b1f;--ink:#e6e9ec;--soft:#a3adb8;--faint:#75818d;
--rule:#2a3138;--head:#1e2429;--accent:#6cb8f0;--good:#4fd0a0;--bad:#ff8a80;--warn:#f0c869;--warnbg:#2d2611;
--c0:#5bb0e8;--c1:#ff9248;--c2:#3ecfa3;--c3:#de8fd2;--c4:#dccb4e;--c5:#9ccbf0;--c6:#ff7d8a;--c7:#a9b4bf}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:var(--ink);
background:var(--paper);font-variant-numeric:tabular-nums}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:3px}
header{background:var(--card);border-bottom:1px solid var(--rule)}
header>div,main,footer{max-width:72rem;margin:0 auto;padding:0 1.25rem}
header>div{display:flex;flex-wrap:wrap;align-items:center;gap:.15rem 1.5rem;min-height:3.4rem;padding-top:.4rem;
padding-bottom:.4rem}
.brand{font-weight:650;font-size:1.06rem;letter-spacing:-.01em;color:var(--ink);display:flex;align-items:center;gap:.5rem}
.brand:hover{text-decoration:none}.brand svg{width:1.35rem;height:1.35rem;color:var(--accent)}
nav{display:flex;flex-wrap:wrap;gap:0 .25rem;margin-left:-.6rem}
nav a{padding:.3rem .6rem;border-radius:.45rem;color:var(--soft);font-weight:500}
nav a[aria-current]{color:var(--ink);background:var(--head)}nav a:hover{text-decoration:none;color:var(--ink)}
main{padding-top:1.25rem;padding-bottom:2.5rem}
footer{color:var(--faint);font-size:.86rem;padding-bottom:2rem}
h1{font-size:1.45rem;line-height:1.25;letter-spacing:-.015em;margin:.2rem 0 .6rem;overflow-wrap:anywhere}
h2{font-size:1rem;margin:0;letter-spacing:-.005em}
.lead{color:var(--soft);margin:-.2rem 0 1.1rem;max-width:62ch;overflow-wrap:anywhere}
.card{background:var(--card);border:1px solid var(--rule);border-radius:.7rem;padding:1rem 1.1rem;
margin:0 0 1rem;min-width:0}
.card>h2{display:flex;justify-content:space-between;align-items:baseline;gap:.1rem 1rem;
flex-wrap:wrap;margin-bottom:.7rem;overflow-wrap:anywhere}
.card>h2 small,.note{font-weight:400;color:var(--soft);font-size:.86rem}
.tiles{display:grid;grid-template-columns:repeat(4,minmax(0,1fr));gap:1rem;margin-bottom:1rem}
.tile{background:var(--card);border:1px solid var(--rule);border-radius:.7rem;padding:.8rem 1rem .9rem;min-width:0}
.tile .what{color:var(--soft);font-size:.86rem}
.tile .value{font-size:1.75rem;line-height:1.2;font-weight:600;letter-spacing:-.02em;white-space:nowrap}
.tile .value small{font-size:.9rem;font-weight:500;color:var(--soft);letter-spacing:0}
.tile .more{color:var(--soft);font-size:.82rem;min-height:1.25em}
.two{display:grid;grid-template-columns:minmax(0,2fr) minmax(0,1fr);gap:0 1rem;align-items:start}
.half{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:0 1rem;align-items:start}
.chart{display:block;width:100%;height:7.5rem;overflow:visible}
.chart .line{fill:none;stroke:var(--c0);stroke-width:1.75;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.chart .area{fill:var(--c0);opacity:.13}.chart .grid{stroke:var(--rule);vector-effect:non-scaling-stroke}
.axis{display:flex;justify-content:space-between;color:var(--faint);font-size:.78rem;margin-top:.3rem}
.slates{list-style:none;margin:0;padding:0}
.slates>li{padding:.75rem 0;border-top:1px solid var(--rule)}.slates>li:first-child{border-top:0;padding-top:.1rem}
.slates .who{display:flex;flex-wrap:wrap;gap:.1rem .7rem;align-items:baseline;margin-bottom:.3rem}
.slates .who b{font-weight:600;overflow-wrap:anywhere}.slates .who span{color:var(--soft);font-size:.86rem}
ol.slots{list-style:none;margin:0;padding:0}
ol.slots li{display:grid;grid-template-columns:1.4rem minmax(4.5rem,11rem) minmax(0,1fr);gap:0 .6rem;padding:.08rem 0;
align-items:baseline}
ol.slots .n{color:var(--faint);font-size:.82rem;text-align:right}
ol.slots .id{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
ol.slots .why{color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}
.dot{display:inline-block;width:.5rem;height:.5rem;border-radius:50%;margin-right:.45rem;background:var(--c7)}
.s0{background:var(--c0)}.s1{background:var(--c1)}.s2{background:var(--c2)}.s3{background:var(--c3)}
.s4{background:var(--c4)}.s5{background:var(--c5)}.s6{background:var(--c6)}.s7{background:var(--c7)}
.tag{display:inline-block;background:var(--head);border-radius:.4rem;padding:.05rem .5rem;margin:0 .35rem .35rem 0;
font-size:.88rem;overflow-wrap:anywhere}
.warn{background:var(--warnbg);color:var(--warn);border-radius:.5rem;padding:.5rem .8rem;
margin:0 0 1rem;font-size:.92rem}
.warn code{background:none;padding:0}
.scroll{overflow-x:auto;margin:0 -.2rem;padding:0 .2rem}
table{border-collapse:collapse;width:100%;font-size:.93rem}
th{font-weight:500;color:var(--soft);font-size:.84rem;text-align:left;padding:.25rem .9rem .35rem 0;white-space:nowrap}
td{border-top:1px solid var(--rule);padding:.4rem .9rem .4rem 0;vertical-align:baseline}
td.num,th.num{text-align:right;white-space:nowrap}td:last-child,th:last-child{padding-right:0}
td.time,td code{white-space:nowrap}.lone{margin:-.3rem 0 .6rem}
td.id{overflow-wrap:anywhere;min-width:7rem}td.wide{overflow-wrap:anywhere;color:var(--soft)}
dl.facts{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.3rem 1.1rem;margin:0}
dl.facts dt{color:var(--soft)}dl.facts dd{margin:0;overflow-wrap:anywhere}
svg.bar{display:block;width:100%;height:.5rem;min-width:4rem}svg.bar rect.back{fill:var(--head)}
svg.bar rect.front{fill:var(--c0)}
form{display:flex;flex-wrap:wrap;gap:.5rem;margin:0 0 1.1rem}
.card form:last-child{margin-bottom:0}
input,select,button{font:inherit;color:inherit;background:var(--card);border:1px solid var(--rule);border-radius:.5rem;
padding:.45rem .7rem;min-width:0;max-width:100%}
input[type=search]{flex:1 1 14rem}
button{background:var(--accent);border-color:var(--accent);color:var(--paper);font-weight:550;cursor:pointer}
@media(prefers-color-scheme:light){button{color:#fff}}
label{display:flex;align-items:center;gap:.45rem;color:var(--soft);font-size:.9rem;min-width:0}
code,.mono{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--head);border-radius:.3rem;
padding:.08rem .3rem;overflow-wrap:anywhere}
pre{overflow-x:auto;background:var(--head);border-radius:.5rem;padding:.7rem .9rem;margin:.5rem 0;
font:.86rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.empty{color:var(--soft);padding:.4rem 0}.empty p{margin:0 0 .4rem;max-width:62ch}
.pulse{margin-left:auto;display:inline-flex;align-items:center;gap:.4rem;color:var(--soft);font-size:.86rem}
.pulse i{width:.5rem;height:.5rem;border-radius:50%;background:var(--faint)}
.pulse.on i{background:var(--good)}
@media(prefers-reduced-motion:no-preference){.pulse.on i{animation:beat 2s ease-in-out infinite}
@keyframes beat{50%{opacity:.35}}}
@media(max-width:60rem){.two,.half{grid-template-columns:minmax(0,1fr)}}
@media(max-width:44rem){.tiles{grid-template-columns:repeat(2,minmax(0,1fr));gap:.7rem}
header>div,main,footer{padding-left:.9rem;padding-right:.9rem}.tile{padding:.65rem .8rem .75rem}
.tile .value{font-size:1.45rem}.card{padding:.85rem .9rem}
ol.slots li{grid-template-columns:1.2rem minmax(0,1fr);padding:.2rem 0}ol.slots .why{grid-column:2}}
"""
