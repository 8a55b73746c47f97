#![allow(clippy::all)]
use candle_core::*; use skimlm_kernels::attention::*; use skimlm_kernels::linear::*; use std::sync::Arc;
fn main(){ let a: Vec<String>=std::env::args().collect(); let n: usize=a[2].parse().unwrap(); let it: usize=a[3].parse().unwrap();
 let num=|c:usize|->Vec<f32>{let mut s=1u32;(0..c).map(|_|{s=s.wrapping_mul(1664525).wrapping_add(1013904223);(s>>8) as f32/(1<<23) as f32-1.0}).collect()};
 let cpu=||{let s=std::fs::read_to_string("/proc/self/schedstat").unwrap(); s.split(' ').next().unwrap().parse::<u64>().unwrap() as f64/1e9};
 let (work,mut run): (f64,Box<dyn FnMut()>) = if a[1]=="att" { let q=Tensor::from_vec(num(n*576),(n,9,64),&Device::Cpu).unwrap(); let dt=if a.len()>4{DType::F32}else{DType::F16}; let k=Tensor::from_vec(num(n*192),(3,n,64),&Device::Cpu).unwrap().to_dtype(dt).unwrap(); let pos: Vec<u32>=(0..n as u32).collect();
  (2.0*(n*n*576) as f64, Box::new(move||{attention(&q,&pos,Entries{k:&k,v:&k,positions:&pos},0.125,Visibility::Causal).unwrap();}))
 } else if a[1]=="row" { let q=Tensor::from_vec(num(576),(1,9,64),&Device::Cpu).unwrap(); let k=Tensor::from_vec(num(n*192),(3,n,64),&Device::Cpu).unwrap().to_dtype(DType::F16).unwrap(); let pos: Vec<u32>=(0..n as u32).collect();
  ((2*n*192*2) as f64, Box::new(move||{attention(&q,&[n as u32],Entries{k:&k,v:&k,positions:&pos},0.125,Visibility::Causal).unwrap();}))
 } else { let (o,c)=(1536,576); let dt = match a[4].as_str(){"q4_1"=>BlockType::Q4_1,"q8_0"=>BlockType::Q8_0,"q4k"=>BlockType::Q4K,_=>BlockType::F32}; let c=if a[4]=="q4k"{512}else{c};
  let d=Tensor::from_vec(num(o*c),(o,c),&Device::Cpu).unwrap(); let b=candle_core::quantized::QTensor::quantize(&d,dt).unwrap().data().unwrap().to_vec(); let l=b.len(); let w=Weight::new(dt,o,c,Bytes::new(Arc::new(b),0..l).unwrap()).unwrap(); let x=Tensor::from_vec(num(n*c),(n,c),&Device::Cpu).unwrap();
  (if n<16 {l as f64} else {2.0*(n*o*c) as f64}, Box::new(move||{linear(&x,&w).unwrap();})) };
 run(); let mut best=0f64; for _ in 0..it { let t=cpu(); run(); let d=cpu()-t; best=best.max(work/d/1e9);} println!("{:?} {best:.1} G per CPU second",&a[1..]); }
