import sys,glob,statistics
d=sys.argv[1]
f=glob.glob(d+'/w_iops*.log')[0]
import os
# log times are ms since job start; get start from the end mtime
rows=[tuple(int(x) for x in l.split(',')[:2]) for l in open(f)]
end=os.path.getmtime(f)
last=rows[-1][0]
start=end-last/1000
turns=[l.split() for l in open(d+'/turns')]
res={}
seq=[]
for v,s,e in turns:
    s=int(s)/1e9-start;e=int(e)/1e9-start
    xs=[n for t,n in rows if s+0.25<=t/1000<=e]
    seq.append((v,statistics.mean(xs)))
none=[x for v,x in seq if v=='none']
print('none',round(statistics.median(none)))
k=len({v for v,_ in seq})
for v in dict(seq):
    if v=='none': continue
    ratios=[]
    for i,(w,x) in enumerate(seq):
        if w!=v: continue
        b=max(j for j in range(i) if seq[j][0]=='none')
        a=[j for j in range(i,len(seq)) if seq[j][0]=='none']
        base=seq[b][1] if not a else (seq[b][1]+seq[a[0]][1])/2
        ratios.append(x/base)
    print(v,round(statistics.median([x for w,x in seq if w==v])),'ratio median %.3f'%statistics.median(ratios),' '.join('%.2f'%r for r in ratios))
